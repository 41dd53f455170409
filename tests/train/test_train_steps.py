"""What steps do to the networks: they learn, stay finite, keep their average and their spectral norms."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from streamsr.degrade.reference import GANLoss, RRDBNet, UNetDiscriminatorSN
from streamsr.errors import StageFailed, WeightsError
from streamsr.train.config import TrainConfig
from streamsr.train.distributed import Group
from streamsr.train.generator import new_generator
from streamsr.train.pairs import PairBatch
from streamsr.train.trainer import Trainer
from tests.train.train_feed import batch_of, pictures, small_config

ALONE = Group(0, 1, torch.device("cpu"))


def trainer_of(cfg: TrainConfig, vgg: Path | None = None) -> Trainer:
    generator, architecture = new_generator(cfg.model, cfg.run.seed, lambda _: None)
    return Trainer(cfg, generator, architecture, ALONE, vgg)


def decibels(made: torch.Tensor, truth: torch.Tensor) -> float:
    return -10 * math.log10(float((made.clamp(0, 1) - truth).square().mean()))


def test_a_tiny_network_learns_its_pictures_by_heart() -> None:
    """3 dB better than bicubic on what it was shown."""
    cfg = small_config(
        model={"features": 24, "depth": 2, "init": "bilinear"},
        optim={"steps": 500, "lr": 3e-3, "last_lr": 1e-5, "clip": 0.5, "ema": 0.98, "ema_ramp": True},
    )
    truth = pictures(2, 32, seed=1)
    batch = batch_of(truth, 2)
    trainer = trainer_of(cfg)
    while trainer.done < cfg.optim.steps:
        trainer.step(batch)
    with torch.inference_mode():
        made = trainer.average.module(batch.lr_N3hw)
    bicubic = F.interpolate(batch.lr_N3hw, scale_factor=2, mode="bicubic")
    assert decibels(made, truth) > decibels(bicubic, truth) + 3


def test_the_average_follows_with_its_decay() -> None:
    trainer = trainer_of(small_config(optim={"ema": 0.9}))
    name, start = next((name, value.clone()) for name, value in trainer.generator.state_dict().items())
    wanted = start
    for _ in range(3):
        trainer.step(batch_of(pictures(2, 32, 1), 2))
        wanted = 0.9 * wanted + 0.1 * trainer.generator.state_dict()[name]
    torch.testing.assert_close(trainer.average.module.state_dict()[name], wanted)
    ramped = trainer_of(small_config(optim={"ema": 0.9, "ema_ramp": True}))
    ramped.step(batch_of(pictures(2, 32, 1), 2))
    torch.testing.assert_close(
        ramped.average.module.state_dict()[name], 0.1 * start + 0.9 * ramped.generator.state_dict()[name]
    )


def test_long_gradients_are_shortened() -> None:
    """Adam is blind to the length of a gradient, but not its momenta."""
    batch = batch_of(pictures(2, 32, 1), 2)
    free, bound = trainer_of(small_config()), trainer_of(small_config(optim={"clip": 1e-3}))
    lengths = []
    for trainer in (free, bound):
        trainer.step(batch)
        gradients = [value.grad for value in trainer.generator.parameters() if value.grad is not None]
        lengths.append(float(torch.stack([gradient.norm() for gradient in gradients]).norm()))
    assert lengths[0] > 1e-2
    assert lengths[1] == pytest.approx(1e-3, rel=1e-3)


def test_a_loss_that_is_no_number_stops_before_the_weights_change() -> None:
    trainer = trainer_of(small_config())
    batch = batch_of(pictures(2, 32, 1), 2)
    trainer.step(batch)
    before = {name: value.clone() for name, value in trainer.generator.state_dict().items()}
    gt = batch.gt_N3HW.clone()
    gt[0, 0, 0, 0] = math.nan
    with pytest.raises(StageFailed, match=r"not a finite number \(stage train, item 1\).*last checkpoint is good"):
        trainer.step(PairBatch(batch.lr_N3hw, gt, gt))
    assert all(torch.equal(value, before[name]) for name, value in trainer.generator.state_dict().items())
    assert trainer.done == 1


def test_weights_that_are_no_numbers_are_not_kept() -> None:
    trainer = trainer_of(small_config())
    with torch.no_grad():
        next(trainer.generator.parameters()).fill_(math.inf)
    with pytest.raises(StageFailed, match="weights are not finite"):
        trainer.state()


GAN = {"gan": 0.1, "gan_features": 8}


@pytest.mark.parametrize("kind", ["vanilla", "lsgan", "hinge"])
def test_the_discriminator_learns_to_tell_real_from_made(kind: str) -> None:
    cfg = small_config(loss={**GAN, "gan_kind": kind, "gan": 0.0001}, optim={"steps": 60, "lr": 2e-3})
    trainer = trainer_of(cfg)
    batch = batch_of(pictures(2, 32, 1), 2)
    first, _ = trainer.step(batch)
    while trainer.done < cfg.optim.steps:
        losses, _ = trainer.step(batch)
    assert set(losses) == {"loss", "l1", "gan", "d_real", "verdict_real", "d_fake", "verdict_fake"}
    assert losses["d_real"] + losses["d_fake"] < first["d_real"] + first["d_fake"]
    assert losses["verdict_real"] > losses["verdict_fake"]


def test_a_discriminator_that_diverges_is_found() -> None:
    """Its real pictures are broken, the target of the generator is not."""
    trainer = trainer_of(small_config(loss=GAN))
    batch = batch_of(pictures(2, 32, 1), 2)
    broken = PairBatch(batch.lr_N3hw, torch.full_like(batch.gt_N3HW, math.nan), batch.gt_N3HW)
    with pytest.raises(StageFailed, match="the discriminator's loss is not a finite number"):
        trainer.step(broken)
    with pytest.raises(StageFailed, match="weights are not finite"):
        trainer.state()


def test_half_precision_learns_alike_and_its_scaler_is_kept() -> None:
    """On the CPU too: the weights stay fp32; gradients that overflow are skipped and the scale is halved."""
    batches = [batch_of(pictures(2, 32, number), 2) for number in range(4)]
    full, half = (trainer_of(small_config(loss=GAN, optim={"precision": kind})) for kind in ("fp32", "fp16"))
    for batch in batches:
        wanted, found = full.step(batch)[0], half.step(batch)[0]
        assert found == pytest.approx(wanted, rel=0.05, abs=2e-3)
    assert {value.dtype for value in half.generator.state_dict().values()} == {torch.float32}
    before = copy.deepcopy(half.generator.state_dict())
    half.scaler.update(1e38)
    half.step(batches[0])
    assert all(torch.equal(value, before[name]) for name, value in half.generator.state_dict().items())
    assert half.state()["scaler"]["scale"] == pytest.approx(0.5e38)


def test_spectral_norms_stay_near_one() -> None:
    trainer = trainer_of(small_config(loss=GAN, optim={"lr": 1e-3}))
    for number in range(30):
        trainer.step(batch_of(pictures(2, 32, number), 2))
    assert trainer.adversary is not None
    norms = {}
    for name, layer in trainer.adversary.module.named_children():
        if hasattr(layer, "weight_orig"):
            weight = layer.weight
            assert isinstance(weight, torch.Tensor)
            matrix = weight.detach().flatten(1)
            norms[name] = float(torch.linalg.matrix_norm(matrix, 2))
    assert len(norms) == 8
    assert norms == pytest.approx(dict.fromkeys(norms, 1.0), abs=0.2)


def test_two_steps_of_stage_2_are_upstreams() -> None:
    """Against basicsr's networks and losses, in the order of its RealESRGANModel.optimize_parameters."""
    cfg = small_config(
        model={"family": "rrdb", "scale": 4, "features": 8, "depth": 1, "growth": 4},
        loss={"l1": 1.0, **GAN},
        optim={"lr": 1e-4, "ema": 0.999},
    )
    trainer = trainer_of(cfg)
    assert trainer.adversary is not None
    net_g, net_d, ema = RRDBNet(3, 3, 4, 8, 1, 4), UNetDiscriminatorSN(3, 8), RRDBNet(3, 3, 4, 8, 1, 4)
    for module in (net_g, ema):
        module.load_state_dict(trainer.generator.state_dict())
    net_d.load_state_dict(trainer.adversary.module.state_dict())
    adams = [torch.optim.Adam(module.parameters(), lr=1e-4, betas=(0.9, 0.99)) for module in (net_g, net_d)]
    l1, gan_g, gan_d = torch.nn.L1Loss(), GANLoss("vanilla", loss_weight=0.1), GANLoss("vanilla")
    for number in range(2):
        plain = batch_of(pictures(2, 32, number), 4)
        batch = PairBatch(plain.lr_N3hw, plain.gt_N3HW, (plain.gt_N3HW * 1.2 - 0.1).clamp(0, 1))
        losses, _ = trainer.step(batch)
        net_d.requires_grad_(False)
        adams[0].zero_grad()
        output = net_g(batch.lr_N3hw)
        pixel = l1(output, batch.sharp_N3HW)  # l1_gt_usm: True
        adversarial = gan_g(net_d(output), True, is_disc=False)
        (pixel + adversarial).backward()
        adams[0].step()
        net_d.requires_grad_(True)
        adams[1].zero_grad()
        real = gan_d(net_d(batch.gt_N3HW), True, is_disc=True)  # gan_gt_usm: False
        real.backward()
        fake = gan_d(net_d(output.detach().clone()), False, is_disc=True)
        fake.backward()
        adams[1].step()
        with torch.no_grad():
            for kept, new in zip(ema.parameters(), net_g.parameters(), strict=True):
                kept.mul_(0.999).add_(new, alpha=0.001)
        wanted = {"l1": pixel, "gan": adversarial, "d_real": real, "d_fake": fake}
        assert {name: losses[name] for name in wanted} == pytest.approx(
            {name: float(value.detach()) for name, value in wanted.items()}, rel=1e-5
        )
    for ours, theirs in (
        (trainer.generator, net_g), (trainer.adversary.module, net_d), (trainer.average.module, ema),
    ):  # fmt: skip
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_the_generators_step_leaves_the_discriminator_alone() -> None:
    trainer = trainer_of(small_config(loss=GAN))
    assert trainer.adversary is not None
    made = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    trainer.adversary.term(made).backward()
    assert made.grad is not None
    assert all(value.grad is None and value.requires_grad for value in trainer.adversary.module.parameters())


def test_a_state_brings_everything_back() -> None:
    cfg = small_config(loss=GAN)
    one, two = trainer_of(cfg), trainer_of(small_config(loss=GAN, run={"seed": 5}))
    for number in range(3):
        one.step(batch_of(pictures(2, 32, number), 2))
    two.restore(copy.deepcopy(one.state()))  # optimisers keep the tensors they are given
    for number in range(3, 6):
        batch = batch_of(pictures(2, 32, number), 2)
        assert one.step(batch) == two.step(batch)


def test_a_state_of_another_network_is_refused() -> None:
    state = trainer_of(small_config(model={"features": 12})).state()
    with pytest.raises(WeightsError, match=r"does not fit.*--fresh"):
        trainer_of(small_config()).restore(state)


def test_a_discriminator_to_go_on_from(tmp_path: Path) -> None:
    one = trainer_of(small_config(loss=GAN, run={"seed": 4}))
    assert one.adversary is not None
    torch.save({"params": one.adversary.module.state_dict()}, tmp_path / "d.pth")
    start = {"gan_start": str(tmp_path / "d.pth")}
    two = trainer_of(small_config(loss={**GAN, **start}))
    assert two.adversary is not None
    for name, value in one.adversary.module.state_dict().items():
        assert torch.equal(value, two.adversary.module.state_dict()[name])
    with pytest.raises(WeightsError, match=r"loss\.gan_features = 16"):
        trainer_of(small_config(loss={**GAN, **start, "gan_features": 16}))
