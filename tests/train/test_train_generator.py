"""Generators: basicsr's gradients and starts, bilinear enlargement, what a start takes over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamsr.degrade.reference import RRDBNet, SRVGGNetCompact
from streamsr.errors import ConfigError, WeightsError
from streamsr.models.registry import Architecture
from streamsr.models.rrdb import RRDB
from streamsr.models.srvgg import SRVGG
from streamsr.train.config import ModelConfig
from streamsr.train.export import export
from streamsr.train.generator import new_generator

CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "srvgg": (lambda: SRVGG(3, 3, 8, 2, 4), lambda: SRVGGNetCompact(3, 3, 8, 2, 4)),
    "rrdb x4": (lambda: RRDB(3, 3, 4, 8, 2, 4), lambda: RRDBNet(3, 3, 4, 8, 2, 4)),
    "rrdb x2": (lambda: RRDB(3, 3, 2, 8, 1, 4), lambda: RRDBNet(3, 3, 2, 8, 1, 4)),
    "rrdb x1": (lambda: RRDB(3, 3, 1, 8, 1, 4), lambda: RRDBNet(3, 3, 1, 8, 1, 4)),
}


def unheard(_text: str) -> None:
    pass


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_basicsr(name: str) -> None:
    """The inference modules work in place here and there; no gradient may suffer from it."""
    make_ours, make_theirs = CASES[name]
    theirs, ours = make_theirs(), make_ours().double().requires_grad_(True).train()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    theirs.double().train()
    lr_N3hw = torch.rand(2, 3, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for module in (ours, theirs):
        x = lr_N3hw.clone().requires_grad_(True)
        made: Tensor = module(x)
        loss = (made - 0.3).abs().mean() + made.diff(dim=2).square().sum()
        names = [key for key, _ in module.named_parameters()]
        found.append(dict(zip(["input", *names], torch.autograd.grad(loss, [x, *module.parameters()]), strict=True)))
    assert found[0].keys() == found[1].keys()
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], rtol=1e-9, atol=1e-12, msg=f"gradient of {key}")


def test_fresh_weights_follow_from_the_seed_and_leave_the_global_generator_alone() -> None:
    cfg = ModelConfig(family="rrdb", features=8, depth=1, growth=4)
    before = torch.get_rng_state()
    one, two, other = (new_generator(cfg, seed, unheard)[0].state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["conv_first.weight"], other["conv_first.weight"])


def test_fresh_rrdb_has_the_statistics_of_basicsr() -> None:
    """Kaiming times 0.1 in the dense blocks (deviation 0.1 * sqrt(2 / fan_in)), no bias; torch's own elsewhere."""
    module, _ = new_generator(ModelConfig(family="rrdb", features=32, depth=4, growth=32), 3, unheard)
    torch.manual_seed(3)
    theirs = RRDBNet(3, 3, 4, 32, 4, 32).state_dict()
    for name, value in module.state_dict().items():
        if name.endswith("bias"):
            assert (value.abs().max() == 0) == (theirs[name].abs().max() == 0), name
        elif value.numel() > 5000:
            assert float(value.std()) == pytest.approx(float(theirs[name].std()), rel=0.05), name


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bilinear_start_is_bilinear_enlargement(scale: int) -> None:
    cfg = ModelConfig(family="srvgg", scale=scale, features=8, depth=2, init="bilinear")
    module, _ = new_generator(cfg, 0, unheard)
    convs = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        convs[-1].weight[:, 3:] = 0  # the random features, which hardly speak
        lr_N3hw = torch.rand(1, 3, 9, 11, generator=torch.Generator().manual_seed(5))
        made = module(lr_N3hw)
    wanted = F.interpolate(lr_N3hw, scale_factor=scale, mode="bilinear")
    inner = (..., slice(scale, -scale), slice(scale, -scale))
    torch.testing.assert_close(made[inner], wanted[inner], rtol=0, atol=1e-6)


def test_bilinear_start_speaks_softly_before_training() -> None:
    module, _ = new_generator(ModelConfig(family="srvgg", features=32, depth=6, init="bilinear"), 0, unheard)
    lr_N3hw = F.interpolate(torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(5)), scale_factor=4)
    with torch.no_grad():
        error = module(lr_N3hw) - F.interpolate(lr_N3hw, scale_factor=4, mode="bilinear")
    assert float(error[..., 4:-4, 4:-4].abs().mean()) < 0.05


def saved(folder: Path, architecture: Architecture) -> Path:
    module = architecture.build()
    return export(folder, "start", module, module, {})


def test_start_takes_all_weights(tmp_path: Path) -> None:
    path = saved(tmp_path, Architecture("srvgg", 4, 3, 3, 8, 2))
    words: list[str] = []
    module, _ = new_generator(ModelConfig(family="srvgg", features=8, depth=2, start=str(path)), 0, words.append)
    again, _ = new_generator(ModelConfig(family="srvgg", features=8, depth=2, start=str(path)), 9, unheard)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in module.state_dict().items())
    assert words == ["starts from start: all weights"]
    assert module.training
    assert all(value.requires_grad for value in module.parameters())


def test_start_from_a_run_folder_and_folding(tmp_path: Path) -> None:
    run = tmp_path / "run"
    architecture = Architecture("srvgg", 4, 3, 3, 8, 2)
    big = architecture.build()
    export(run, "run", big, big, {})
    words: list[str] = []
    module, _ = new_generator(
        ModelConfig(family="srvgg", scale=2, features=8, depth=2, start=str(run)), 0, words.append
    )
    lr_N3hw = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        torch.testing.assert_close(module(lr_N3hw), F.avg_pool2d(big(lr_N3hw), 2), rtol=1e-5, atol=1e-6)
    assert "folded from x4 to x2" in words[0]


def test_start_of_another_scale_takes_what_fits(tmp_path: Path) -> None:
    path = saved(tmp_path, Architecture("rrdb", 4, 3, 3, 8, 2, 4))
    words: list[str] = []
    cfg = ModelConfig(family="rrdb", scale=2, features=8, depth=2, growth=4, start=str(path))
    new_generator(cfg, 0, words.append)
    total = len(Architecture("rrdb", 2, 3, 3, 8, 2, 4, 2).parameter_shapes())
    assert words == [f"starts from start: {total - 1} of {total} parameters, the others are fresh"]


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Architecture("srvgg", 4, 3, 3, 8, 2))
    with pytest.raises(ConfigError, match=r"SRVGG x4, 8 features, 2 convolutions, but .* 16 features"):
        new_generator(ModelConfig(family="srvgg", features=16, depth=2, start=str(path)), 0, unheard)
    with pytest.raises(WeightsError, match="no such checkpoint"):
        new_generator(ModelConfig(start=str(tmp_path / "none.pth")), 0, unheard)
    with pytest.raises(ConfigError, match="does not go with rrdb"):
        new_generator(ModelConfig(scale=3), 0, unheard)
