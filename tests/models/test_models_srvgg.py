"""SRVGG against basicsr's SRVGGNetCompact, and the properties that tiles and folding rest on."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest
import torch
from torch.nn import functional as F

from streamsr.models.srvgg import SRVGG
from streamsr.models.weights import load_network
from tests.models.upstream import SRVGGNetCompact


def random_srvgg(features: int, convs: int, scale: int, channels: int = 3) -> SRVGG:
    network = SRVGG(channels, channels, features, convs, scale).eval()
    for parameter in network.parameters():  # PReLU slopes differ from channel to channel, biases from 0
        parameter.detach().normal_(0, 0.7 / max(parameter[0].numel(), 4) ** 0.5)
    return network


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(7)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize(("features", "convs"), [(64, 16), (64, 32), (32, 8), (8, 0)])
@torch.inference_mode()
def test_equals_upstream_bit_for_bit(features: int, convs: int, scale: int) -> None:
    ours = random_srvgg(features, convs, scale)
    theirs = SRVGGNetCompact(3, 3, features, convs, scale).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    lr_N3HW = torch.rand(2, 3, 11, 14)
    assert torch.equal(ours(lr_N3HW), theirs(lr_N3HW))
    assert ours(lr_N3HW).shape == (2, 3, 11 * scale, 14 * scale)


@torch.inference_mode()
def test_equals_upstream_in_channels_last() -> None:
    ours = random_srvgg(16, 2, 4)
    theirs = SRVGGNetCompact(3, 3, 16, 2, 4).eval()
    theirs.load_state_dict(ours.state_dict())
    lr_N3HW = torch.rand(2, 3, 9, 7)
    assert torch.allclose(ours(lr_N3HW.to(memory_format=torch.channels_last)), theirs(lr_N3HW), atol=1e-6)


@pytest.mark.parametrize(("scale", "factor"), [(4, 2), (4, 4), (2, 2), (3, 3), (4, 1)])
@torch.inference_mode()
def test_folded_equals_the_average_of_the_full_output(scale: int, factor: int) -> None:
    full = random_srvgg(16, 3, scale)
    folded = full.folded(factor)
    assert folded.scale == scale // factor
    assert not folded.training
    lr_N3HW = torch.rand(2, 3, 10, 13)
    assert (folded(lr_N3HW) - F.avg_pool2d(full(lr_N3HW), factor)).abs().max() < 1e-6
    lr_N3HW, full, folded = lr_N3HW.double(), full.double(), full.double().folded(factor)
    assert (folded(lr_N3HW) - F.avg_pool2d(full(lr_N3HW), factor)).abs().max() < 1e-14


def test_folding_leaves_the_original_alone() -> None:
    full = random_srvgg(8, 1, 4).requires_grad_(False)
    before = {name: value.clone() for name, value in full.state_dict().items()}
    folded = full.folded(2)
    for parameter in folded.parameters():
        assert not parameter.requires_grad
        parameter.zero_()
    assert all(torch.equal(before[name], value) for name, value in full.state_dict().items())


@pytest.mark.parametrize("factor", [0, 3, 8])
def test_folding_refuses_what_does_not_divide_the_scale(factor: int) -> None:
    with pytest.raises(ValueError, match="cannot be folded"):
        SRVGG(3, 3, 8, 1, 4).folded(factor)


@pytest.mark.parametrize("sizes", [(3, 4, 8, 1, 4), (3, 3, 0, 1, 4), (3, 3, 8, -1, 4), (3, 3, 8, 1, 0)])
def test_refuses_sizes_that_make_no_network(sizes: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no SRVGG"):
        SRVGG(*sizes)


def test_receptive_radius_is_exact() -> None:
    network = random_srvgg(8, 3, 2).double()
    assert reach(network, pixel=(12, 12), side=25) == network.receptive_radius == 5


def reach(network: torch.nn.Module, pixel: tuple[int, int], side: int) -> int:
    """How far from an input pixel lie the input pixels that its output square depends on, by the gradient."""
    lr_N3HW = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    sr_N3YX = network(lr_N3HW)
    scale = sr_N3YX.shape[-1] // side
    y, x = pixel[0] * scale, pixel[1] * scale
    sr_N3YX[..., y : y + scale, x : x + scale].sum().backward()
    assert lr_N3HW.grad is not None
    touched = lr_N3HW.grad[0].abs().sum(0).nonzero()
    return int((touched - torch.tensor(pixel)).abs().max())


def test_gradients_reach_every_parameter() -> None:
    network = random_srvgg(8, 2, 2)
    network(torch.rand(1, 3, 8, 8)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


@torch.inference_mode()
def test_real_weights_on_a_real_picture() -> None:
    if not (os.environ.get("STREAMSR_WEIGHTS") and os.environ.get("STREAMSR_TRAIN")):
        pytest.skip("set STREAMSR_WEIGHTS and STREAMSR_TRAIN to folders of weights and pictures")
    network = load_network("animevideov3")
    theirs = SRVGGNetCompact(3, 3, 64, 16, 4).eval()
    theirs.load_state_dict(network.module.state_dict(), strict=True)
    picture = next(path for path in sorted(Path(os.environ["STREAMSR_TRAIN"]).glob("cartoon/*.png")))
    hr_HW3 = cv2.imread(str(picture), cv2.IMREAD_COLOR_RGB)
    assert hr_HW3 is not None
    small = cv2.resize(hr_HW3, (128, 96), interpolation=cv2.INTER_AREA)
    lr_N3HW = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
    sr_N3YX = network.module(lr_N3HW)
    assert (sr_N3YX - theirs(lr_N3HW)).abs().max() <= 1e-6
    # It is an enlargement of the picture and not just any numbers.
    assert (F.avg_pool2d(sr_N3YX, 4) - lr_N3HW).abs().mean() < 0.03
    assert sr_N3YX.std() > 0.5 * lr_N3HW.std()
    assert isinstance(network.module, SRVGG)
    assert (network.module.folded(2)(lr_N3HW) - F.avg_pool2d(sr_N3YX, 2)).abs().max() < 2e-6
