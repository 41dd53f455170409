"""The terms of the loss against their formulas written out, and the schedule at its corners."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamsr.degrade.reference import VGG_NAMES, GANLoss
from streamsr.errors import ConfigError, WeightsError
from streamsr.train import perceptual
from streamsr.train.config import DistillConfig, LossConfig
from streamsr.train.losses import content_terms, learning_rate, target_of
from streamsr.train.pairs import PairBatch
from streamsr.train.perceptual import LAYERS, MEAN, STD, Perceptual, find_vgg

ALONE = DistillConfig()


def unheard(_text: str) -> None:
    raise AssertionError(_text)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_terms_are_their_formulas() -> None:
    made, gt, sharp = (noise(seed, 2, 3, 16, 24) for seed in (1, 2, 3))
    batch = PairBatch(noise(4, 2, 3, 4, 6), gt, sharp)
    terms = content_terms(made, batch, LossConfig(l1=2.0, edge=0.3, means=0.5, means_px=8), ALONE, None)
    error = (made - sharp).double().numpy()
    wanted = {
        "l1": 2.0 * np.abs(error).mean(),
        "edge": 0.3 * (np.abs(np.diff(error, axis=2)).mean() + np.abs(np.diff(error, axis=3)).mean()),
        "means": 0.5 * np.abs((made - gt).double().numpy().reshape(2, 3, 2, 8, 3, 8).mean((3, 5))).mean(),
    }
    assert list(terms) == list(wanted)
    for name, value in wanted.items():
        assert float(terms[name]) == pytest.approx(value, rel=1e-5)
    blunt = content_terms(made, batch, LossConfig(l1_sharp=False), ALONE, None)
    assert float(blunt["l1"]) == pytest.approx(float((made - gt).abs().mean()))


def test_the_target_mixes_teacher_and_truth() -> None:
    truth, teacher = noise(1, 1, 3, 64, 64), noise(2, 1, 3, 64, 64)
    mixed = target_of(truth, teacher, DistillConfig(teacher="t", share=0.7, means_px=0))
    torch.testing.assert_close(mixed, 0.7 * teacher + 0.3 * truth)
    assert target_of(truth, None, ALONE) is truth


def test_a_cast_of_the_teacher_is_not_learned() -> None:
    """A teacher that draws the truth, only brighter and redder, gives the truth itself."""
    truth = noise(1, 1, 3, 64, 96)
    tinted = truth + torch.tensor([0.05, 0.01, 0.0]).view(1, 3, 1, 1)
    mixed = target_of(truth, tinted, DistillConfig(teacher="t", share=1.0, means_px=32))
    torch.testing.assert_close(mixed, truth, rtol=0, atol=1e-6)


def test_the_teacher_keeps_its_details() -> None:
    truth, teacher = noise(1, 1, 3, 64, 64), noise(2, 1, 3, 64, 64)
    mixed = target_of(truth, teacher, DistillConfig(teacher="t", share=1.0, means_px=32))
    assert float((mixed - teacher).diff(dim=3).abs().max()) < 0.01
    means = F.avg_pool2d(mixed - truth, 64).abs().max()
    assert float(means) < 0.2 * float(F.avg_pool2d(teacher - truth, 32).abs().max())


def test_the_schedule_at_its_corners() -> None:
    def rate(step: int, last: float | None = 1e-5) -> float:
        return learning_rate(step, 1000, 1e-3, last, 100, 0.5)

    assert rate(0) == pytest.approx(1e-5)
    assert rate(99) == pytest.approx(1e-3)
    assert rate(100) == rate(500) == pytest.approx(1e-3)
    assert rate(750) == pytest.approx((1e-3 + 1e-5) / 2)
    assert rate(1000) == pytest.approx(1e-5)
    assert rate(2000) == pytest.approx(1e-5)
    assert rate(999, last=None) == pytest.approx(1e-3)
    assert all(rate(step) >= rate(step + 1) for step in range(100, 999))


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of torchvision's layout with small random weights; the classifier's are cut short."""
    generator = torch.Generator().manual_seed(7)
    channels, state = 3, {}
    for index, name in enumerate(VGG_NAMES["vgg19"]):
        if name.startswith("conv"):
            width = 64 * 2 ** min(int(name[4]) - 1, 3)
            state[f"features.{index}.weight"] = torch.randn(width, channels, 3, 3, generator=generator) * 0.05
            state[f"features.{index}.bias"] = torch.randn(width, generator=generator) * 0.1
            channels = width
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({**state, "classifier.0.weight": torch.zeros(2)}, path)
    return path


def test_perceptual_is_the_sum_over_five_layers(vgg_file: Path) -> None:
    """Against a plain walk through the layers, by basicsr's list of their names."""
    state = torch.load(vgg_file, weights_only=True)
    wanted_layers = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}
    assert {VGG_NAMES["vgg19"][index]: weight for index, weight in LAYERS.items()} == wanted_layers

    def features(x: Tensor) -> dict[str, Tensor]:
        x, found = (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1), {}
        for index, name in enumerate(VGG_NAMES["vgg19"][: max(LAYERS) + 1]):
            if name.startswith("conv"):
                x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)
                found[name] = x
            else:
                x = F.relu(x) if name.startswith("relu") else F.max_pool2d(x, 2, 2)
        return found

    made, truth = noise(1, 1, 3, 32, 32).requires_grad_(True), noise(2, 1, 3, 32, 32)
    ours = Perceptual(vgg_file)
    value = ours(made, truth)
    a, b = features(made.detach()), features(truth)
    wanted = sum(weight * float((a[name] - b[name]).abs().mean()) for name, weight in wanted_layers.items())
    assert float(value.detach()) == pytest.approx(wanted, rel=1e-4)
    value.backward()
    assert made.grad is not None
    assert float(made.grad.abs().sum()) > 0
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    assert not any(isinstance(part, nn.Linear) for part in ours.modules())


def test_missing_vgg_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"VGG19.*vgg19-dcbb9e9d\.pth.*\"pull\".*loss\.perceptual=0"):
        find_vgg("", unheard)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    found = tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"
    found.write_bytes(b"not weights")
    assert find_vgg("", unheard) == found
    with pytest.raises(WeightsError, match=r"cannot read the weights of VGG19.*loss\.perceptual=0"):
        Perceptual(found)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a web server on loopback that stands for pytorch.org."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = partial(SilentHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("STREAMSR_WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        try:
            yield folder
        finally:
            server.shutdown()
            thread.join(5)


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_vgg_is_fetched_where_asked_and_checked(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"as good as weights"
    (mirror / "vgg19-dcbb9e9d.pth").write_bytes(data)
    words: list[str] = []
    with pytest.raises(WeightsError, match=r"not vgg19-dcbb9e9d\.pth as published"):
        find_vgg("pull", words.append)
    assert "575 MB" in words[0]
    published = replace(perceptual._PUBLISHED, sha256=hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(perceptual, "_PUBLISHED", published)
    path = find_vgg("pull", words.append)
    assert path.read_bytes() == data
    assert (path.name, path.parent.name) == ("vgg19-dcbb9e9d.pth", "checkpoints")
    assert find_vgg("pull", unheard) == find_vgg("", unheard) == path, "is not fetched twice"


@pytest.mark.parametrize(
    ("kind", "real", "fake"),
    [("vanilla", np.log1p(np.exp(-0.5)), np.log1p(np.exp(0.5))), ("lsgan", 0.25, 0.25), ("hinge", 0.5, 1.5)],
)
def test_adversarial_losses_are_the_published_ones(kind: str, real: float, fake: float) -> None:
    """Of a discriminator that says 0.5 everywhere."""
    loss, verdict = GANLoss(kind), torch.full((1, 1, 4, 4), 0.5)
    assert float(loss(verdict, True, is_disc=True)) == pytest.approx(real)
    assert float(loss(verdict, False, is_disc=True)) == pytest.approx(fake)
    generator = -0.5 if kind == "hinge" else real
    assert float(loss(verdict, True, is_disc=False)) == pytest.approx(generator)
