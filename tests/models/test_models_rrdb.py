"""RRDB against basicsr's RRDBNet, and how far its pixels see."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from streamsr.models.rrdb import RRDB
from tests.models.upstream import RRDBNet


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(7)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize(("features", "blocks", "growth"), [(8, 23, 4), (16, 6, 8)])
@torch.inference_mode()
def test_equals_upstream_bit_for_bit(features: int, blocks: int, growth: int, scale: int) -> None:
    ours = RRDB(3, 3, scale, features, blocks, growth).eval()
    theirs = RRDBNet(3, 3, scale, features, blocks, growth).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    lr_N3HW = torch.rand(2, 3, 16, 12)
    sr_N3YX = ours(lr_N3HW)
    assert sr_N3YX.shape == (2, 3, 16 * scale, 12 * scale)
    assert torch.equal(sr_N3YX, theirs(lr_N3HW))


@torch.inference_mode()
def test_full_size_block_equals_upstream() -> None:
    ours, theirs = RRDB(3, 3, 4, 64, 1, 32).eval(), RRDBNet(3, 3, 4, 64, 1, 32).eval()
    ours.load_state_dict(theirs.state_dict())
    lr_N3HW = torch.rand(1, 3, 10, 10)
    assert torch.equal(ours(lr_N3HW), theirs(lr_N3HW))


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(17, 15), (16, 13), (3, 18)])
@torch.inference_mode()
def test_any_size_is_mirrored_to_whole_squares_and_cut_again(height: int, width: int, scale: int) -> None:
    ours, theirs = RRDB(3, 3, scale, 8, 1, 4).eval(), RRDBNet(3, 3, scale, 8, 1, 4).eval()
    theirs.load_state_dict(ours.state_dict())
    lr_N3HW = torch.rand(1, 3, height, width)
    square = {1: 4, 2: 2}[scale]
    padded = F.pad(lr_N3HW, (0, -width % square, 0, -height % square), "reflect")
    expected = theirs(padded)[..., : height * scale, : width * scale]
    assert torch.equal(ours(lr_N3HW), expected)


@torch.inference_mode()
def test_a_single_pixel_goes_through() -> None:
    assert RRDB(3, 3, 1, 8, 1, 4)(torch.rand(1, 3, 1, 1)).shape == (1, 3, 1, 1)


@pytest.mark.parametrize(("scale", "unshuffle", "radius"), [(4, 1, 19), (2, 2, 38), (1, 4, 76), (2, 1, 19), (8, 1, 19)])
def test_receptive_radius_is_exact(scale: int, unshuffle: int, radius: int) -> None:
    network = RRDB(3, 3, scale, 4, 1, 2, unshuffle).double()
    assert network.receptive_radius == radius
    for parameter in network.parameters():  # all positive, so that no two paths cancel
        parameter.detach().uniform_(0.05, 0.1)
    first = radius + unshuffle  # of a square, with room on both sides
    reached = [reach(network, first + inside, 2 * first + unshuffle) for inside in range(unshuffle)]
    assert max(reached) == radius


def reach(network: RRDB, pixel: int, side: int) -> int:
    """How far from an input pixel lie the input pixels that its output square depends on, by the gradient."""
    lr_N3HW = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    rows = slice(pixel * network.scale, (pixel + 1) * network.scale)
    network(lr_N3HW)[..., rows, rows].sum().backward()
    assert lr_N3HW.grad is not None
    return int((lr_N3HW.grad[0].sum(0).nonzero() - pixel).abs().max())


@torch.inference_mode()
def test_aligned_tiles_with_the_full_overlap_are_exact() -> None:
    network = RRDB(3, 3, 2, 4, 1, 2).double().eval()
    lr_N3HW = torch.rand(1, 3, 120, 64, dtype=torch.float64)
    overlap = network.receptive_radius
    assert (60 - overlap) % network.align == 0
    tile = network(lr_N3HW[..., 60 - overlap :, :])
    assert torch.allclose(tile[..., 2 * overlap :, :], network(lr_N3HW)[..., 120:, :], rtol=0, atol=1e-12)


def test_gradients_reach_every_parameter() -> None:
    network = RRDB(3, 3, 2, 8, 2, 4)
    network(torch.rand(1, 3, 8, 8)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


@pytest.mark.parametrize("sizes", [(3, 3, 3, 8, 1, 4), (3, 3, 4, 8, 0, 4), (0, 3, 4, 8, 1, 4), (3, 3, 4, 8, 1, 4, 3)])
def test_refuses_sizes_that_make_no_network(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no RRDB"):
        RRDB(*sizes)
