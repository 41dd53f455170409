"""Noise: basicsr's formulas with our generator, and the statistics they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from streamsr.degrade import reference
from streamsr.degrade.noise import gaussian_noise, poisson_noise
from streamsr.degrade.steps import NoiseStep


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(count: int = 1) -> Tensor:
    x = torch.rand(count, 3, 24, 20, generator=generator(1))
    x[:, :, :8] = (x[:, :, :8] * 5).round() / 5
    return x


@pytest.mark.parametrize("is_gray", [False, True])
def test_gaussian_noise_is_basicsrs(is_gray: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = reference.generate_gaussian_noise_pt(picture(), 12.5, float(is_gray))
    ours = gaussian_noise(picture(), 12.5, is_gray, generator())
    torch.testing.assert_close(ours.expand_as(theirs), theirs, rtol=0, atol=0)


@pytest.mark.parametrize("is_gray", [False, True])
def test_poisson_noise_is_basicsrs(is_gray: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = reference.generate_poisson_noise_pt(picture(), 1.7, float(is_gray))
    ours = poisson_noise(picture(), 1.7, is_gray, generator())
    torch.testing.assert_close(ours.expand_as(theirs), theirs, rtol=0, atol=1e-7)


@pytest.mark.parametrize("levels", [1, 2, 3, 5, 64, 65, 128, 129, 255, 256])
def test_poisson_counts_are_powers_of_two(levels: int) -> None:
    """Variance of a count is the count: of the level v, v / counts once divided again."""
    values = torch.linspace(255 - levels + 1, 255, levels).round() / 255
    x = values.repeat(-(-60_000 // levels))[:60_000].view(1, 3, 100, 200)
    noise = poisson_noise(x, 2.0, False, generator())
    counts = 2 ** np.ceil(np.log2(levels))
    expected = 4 * (x / counts).mean().item()
    assert noise.var().item() == pytest.approx(expected, rel=0.05)
    assert abs(noise.mean().item()) < 4 * (expected / noise.numel()) ** 0.5


def test_gaussian_noise_has_its_strength() -> None:
    x = torch.full((1, 3, 200, 200), 0.5)
    noise = gaussian_noise(x, 25.0, False, generator())
    assert noise.std().item() == pytest.approx(25 / 255, rel=0.02)
    assert abs(torch.corrcoef(noise.view(3, -1))[0, 1].item()) < 0.02
    gray = NoiseStep("first noise", True, 25.0, True, 3).apply(x) - x
    assert torch.equal(gray[:, 0], gray[:, 2])


@pytest.mark.parametrize("is_gaussian", [True, False])
@pytest.mark.parametrize("is_gray", [True, False])
def test_every_picture_of_a_clip_has_noise_of_its_own(is_gaussian: bool, is_gray: bool) -> None:
    clip = picture().expand(3, 3, 24, 20)
    step = NoiseStep("first noise", is_gaussian, 20.0 if is_gaussian else 2.0, is_gray, 9)
    out = step.apply(clip)
    assert torch.equal(out, step.apply(clip)), "the same step, the same noise"
    assert not torch.equal(out[0], out[1])
    assert out.min() >= 0
    assert out.max() <= 1


def test_global_generators_are_not_touched() -> None:
    before = torch.get_rng_state()
    NoiseStep("first noise", True, 20.0, False, 9).apply(picture())
    NoiseStep("first noise", False, 2.0, True, 9).apply(picture())
    assert torch.equal(torch.get_rng_state(), before)
