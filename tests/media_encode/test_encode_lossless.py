"""What goes in comes out, byte for byte, while the slots are written again as soon as they come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamsr.frames import PixelLayout
from tests.media_encode.rig import decoded, encode, even_pts, info_for, settings_for, with_options

FFV1_LAYOUTS = [
    *(PixelLayout(subsampling, depth) for subsampling in ("420", "422", "444") for depth in (8, 10, 12)),
    *(PixelLayout("444", depth, is_rgb=True) for depth in (10, 12)),
]


def noise(layout: PixelLayout, size: tuple[int, int], number: int) -> tuple[np.ndarray, ...]:
    """Another picture for every number, using the whole range of codes."""
    random = np.random.default_rng(number)
    shapes = layout.plane_shapes(*size)
    return tuple(random.integers(0, 1 << layout.depth, shape, dtype=np.uint16).astype(layout.dtype) for shape in shapes)


@pytest.mark.parametrize("layout", FFV1_LAYOUTS, ids=lambda layout: layout.pix_fmt)
def test_ffv1_keeps_every_bit(tmp_path: Path, layout: PixelLayout) -> None:
    size = (52, 38)
    settings = settings_for(".mkv", info_for(layout, size=size), codec="ffv1")
    assert settings.layout == layout
    done = encode(tmp_path / "out.mkv", settings, even_pts(9), draw=lambda number: noise(layout, size, number))
    same(decoded(done.path, layout.pix_fmt), layout, size, 9)


def test_ffv1_keeps_8_bit_rgb(tmp_path: Path) -> None:
    """FFV1 has no planar form of it: it is repacked, which is the same samples."""
    layout, size = PixelLayout("444", 8, is_rgb=True), (52, 38)
    settings = settings_for(".mkv", info_for(layout, size=size), codec="ffv1")
    assert (settings.layout, settings.pix_fmt) == (layout, "bgr0")
    done = encode(tmp_path / "out.mkv", settings, even_pts(5), draw=lambda number: noise(layout, size, number))
    with av.open(str(done.path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            green, blue, red = noise(layout, size, number)
            assert np.array_equal(frame.to_ndarray(format="rgb24"), np.stack([red, green, blue], axis=-1))


@pytest.mark.parametrize(
    ("codec", "layout", "options"),
    [
        ("h264", PixelLayout("420"), {"qp": "0", "preset": "medium", "crf": "-1"}),
        ("h264", PixelLayout("444", 10), {"qp": "0", "crf": "-1"}),
        ("hevc", PixelLayout("422", 10), {"x265-params": "lossless=1", "preset": "medium"}),
        ("hevc", PixelLayout("444", 12), {"x265-params": "lossless=1"}),
        ("vp9", PixelLayout("420"), {"lossless": "1", "crf": "0"}),
    ],
)
def test_pixels_are_not_overwritten_early(
    tmp_path: Path, codec: str, layout: PixelLayout, options: dict[str, str]
) -> None:
    """Encoders that look ahead get 40 pictures through two slots, and reproduce each of them."""
    size = (64, 48)
    settings = with_options(settings_for(".mkv", info_for(layout, size=size), codec=codec), **options)
    done = encode(
        tmp_path / "out.mkv", settings, even_pts(40), draw=lambda number: noise(layout, size, number), num_slots=2
    )
    same(decoded(done.path, layout.pix_fmt), layout, size, 40)


def test_frame_threads_hold_their_slots(tmp_path: Path) -> None:
    """ProRes encodes whole pictures side by side and reads them after the call has returned."""
    settings = settings_for(".mov", info_for(PixelLayout("422", 10), size=(256, 128)), codec="prores", quality=90)
    few = encode(tmp_path / "few.mov", settings, even_pts(24), num_slots=6)
    many = encode(tmp_path / "many.mov", settings, even_pts(24), num_slots=24)
    assert [packet.data for packet in few.packets] == [packet.data for packet in many.packets]


def same(found: list[Any], layout: PixelLayout, size: tuple[int, int], count: int) -> None:
    assert len(found) == count
    for number, (_, planes) in enumerate(found):
        for plane, wanted in zip(planes, noise(layout, size, number), strict=True):
            assert np.array_equal(plane, wanted), f"picture {number} differs"
