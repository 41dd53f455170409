"""Tiles cover a picture once, and change nothing."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamsr.models.rrdb import RRDB
from streamsr.models.srvgg import SRVGG
from streamsr.models.weights import load_network
from streamsr.upscale.chain import channels_last
from streamsr.upscale.tiles import plan_spans, run_tiled


@given(st.integers(1, 500), st.integers(1, 200), st.integers(0, 60), st.sampled_from([1, 2, 4]))
def test_spans_cover_every_pixel_once(length: int, tile: int, margin: int, align: int) -> None:
    spans = plan_spans(length, tile, margin, align)
    assert [at for span in spans for at in range(span.start, span.stop)] == list(range(length))
    for span in spans:
        assert span.padded_start % align == 0
        assert span.padded_start == 0 or span.start - span.padded_start >= margin
        assert span.padded_stop == length or span.padded_stop - span.stop >= margin


@pytest.mark.parametrize("tile", [16, 23, 40])
def test_srvgg_is_bit_identical(tile: int) -> None:
    torch.manual_seed(3)
    network = SRVGG(3, 3, 16, 4, 4).eval()
    channels_last(network)
    picture = torch.rand(1, 3, 61, 77).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        whole = network.subpixels(picture)
        parts = run_tiled(network.subpixels, picture, tile=tile, margin=network.receptive_radius, grid=1, exact=True)
        too_narrow = run_tiled(
            network.subpixels, picture, tile=tile, margin=network.receptive_radius - 2, grid=1, exact=True
        )
    assert torch.equal(whole, parts)
    assert not torch.equal(whole, too_narrow)


@pytest.mark.slow
def test_animevideov3_is_bit_identical_on_a_real_picture(weights_dir: Path, train_dir: Path) -> None:
    network = load_network(weights_dir / "realesr-animevideov3.pth")
    module = channels_last(network.module)
    assert isinstance(module, SRVGG)
    picture = cv2.imread(str(sorted((train_dir / "cartoon").glob("*.png"))[0]))
    assert picture is not None
    small = cv2.resize(picture, (200, 120), interpolation=cv2.INTER_AREA)[..., ::-1].copy()
    lr = torch.from_numpy(small).permute(2, 0, 1)[None].float().div_(255).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        whole = module.subpixels(lr)
        parts = run_tiled(module.subpixels, lr, tile=64, margin=18, grid=1, exact=True)
    assert network.receptive_radius == 18
    assert torch.equal(whole, parts)


def test_rrdb_tiles_blend_without_a_seam() -> None:
    torch.manual_seed(5)
    network = RRDB(3, 3, 4, 8, 1, 4).eval()
    picture = torch.rand(1, 3, 72, 72)
    with torch.inference_mode():
        whole = network(picture)
        parts = run_tiled(network, picture, tile=32, margin=16, grid=4, exact=False)
    assert parts.shape == whole.shape
    assert float((parts - whole).abs().max()) < 1e-3 * float(whole.abs().max())
