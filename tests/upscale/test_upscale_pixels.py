"""Colour conversion against an independent formula and against swscale."""

from __future__ import annotations

import shutil
import subprocess

import av
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from streamsr.errors import SourceError
from streamsr.frames import ColorTags, PixelLayout
from streamsr.upscale.pixels import from_rgb, resized, to_rgb
from streamsr.upscale.subpixel import SubpixelTail

LAYOUTS = [
    PixelLayout("420", 8),
    PixelLayout("420", 10),
    PixelLayout("420", 12),
    PixelLayout("422", 8),
    PixelLayout("422", 10),
    PixelLayout("444", 8),
    PixelLayout("444", 10),
    PixelLayout("444", 10, is_rgb=True),
]
TAGS = [
    ColorTags(matrix, full_range=full, chroma_location=location)
    for matrix, full, location in ((1, False, 1), (6, True, 2), (9, False, 3), (1, True, 1))
]


def smooth_rgb(height: int, width: int) -> torch.Tensor:
    """(1, 3, height, width), slow colour waves: what survives a reduction of chroma."""
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    waves = [
        0.5 + 0.45 * torch.sin(2 * torch.pi * (a * x + b * y) + c) for a, b, c in ((1, 0, 0), (0, 1, 1), (1, 1, 2))
    ]
    return torch.stack(waves)[None]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.pix_fmt)
@pytest.mark.parametrize("tags", TAGS, ids=str)
def test_round_trip(layout: PixelLayout, tags: ColorTags) -> None:
    rgb = smooth_rgb(64, 96)
    back = to_rgb(from_rgb(rgb, layout, tags), layout, tags)
    step = 1 / ((1 << layout.depth) - 1)
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    # Half a code value in each of Y, Cb, Cr, the widest matrix entry is about 2; and what 4:2:0 cannot hold.
    limit = 2.5 * step + (0.004 if layout.subsampling != "444" else 0)
    assert float((back[inner] - rgb[inner]).abs().max()) < limit


def test_textbook_values() -> None:
    """BT.709 limited: white 235, black 16, pure red Y=63 Cb=102 Cr=240 (ITU-R BT.709-6, section 3)."""
    rgb = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]]).T.reshape(1, 3, 1, 4)
    y, cb, cr = from_rgb(rgb, PixelLayout("444"), ColorTags(matrix=1, chroma_location=2))
    assert y.flatten().tolist() == [235, 16, 63, 32]
    assert cb.flatten().tolist() == [128, 128, 102, 240]
    assert cr.flatten().tolist() == [128, 128, 240, 118]


@pytest.mark.parametrize(("matrix", "colorspace"), [(1, "ITU709"), (6, "SMPTE170M")])
def test_agrees_with_swscale(matrix: int, colorspace: str) -> None:
    """4:4:4, so that only the matrix and the range speak; swscale works in fixed point: two code values of slack."""
    generator = np.random.default_rng(7)
    planes = [generator.integers(16, 236, (32, 48), np.uint8) for _ in range(3)]
    frame = av.VideoFrame.from_ndarray(np.stack(planes), format="yuv444p")
    theirs = frame.reformat(
        format="gbrp",
        src_colorspace=colorspace,
        dst_colorspace=colorspace,
        src_color_range="MPEG",
        dst_color_range="JPEG",
    ).to_ndarray(format="rgb24")
    tensors = tuple(torch.from_numpy(plane)[None] for plane in planes)
    ours = to_rgb(tensors, PixelLayout("444"), ColorTags(matrix=matrix)) * 255
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - theirs).max() < 2


@pytest.mark.parametrize("location", [1, 2, 3])
def test_chroma_stays_where_it_was(location: int) -> None:
    """The centre of a coloured patch must not move: a siting error is a quarter or half a pixel."""
    rgb = torch.full((1, 3, 64, 64), 0.5)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    rgb[0, 0] += 0.4 * torch.exp(-((x - 31.5) ** 2 + (y - 31.5) ** 2) / 60)
    tags = ColorTags(matrix=1, chroma_location=location)
    back = to_rgb(from_rgb(rgb, PixelLayout("420", 12), tags), PixelLayout("420", 12), tags)
    colour = (back[0, 0] - back[0, 1]).clamp(0.02) - 0.02
    assert abs(float((colour * x).sum() / colour.sum()) - 31.5) < 0.02
    assert abs(float((colour * y).sum() / colour.sum()) - 31.5) < 0.02


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (2, 3), (64, 33)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    layout, tags = PixelLayout("420"), ColorTags(matrix=1, chroma_location=1)
    planes = from_rgb(torch.full((2, 3, *size), 0.25), layout, tags)
    assert [tuple(plane.shape[1:]) for plane in planes] == list(layout.plane_shapes(size[1], size[0]))
    assert float((to_rgb(planes, layout, tags) - 0.25).abs().max()) < 0.01


def test_ten_bit_ramp_has_no_bands() -> None:
    """A slow ramp uses every one of its code values, in steps of one."""
    ramp = torch.linspace(0.2, 0.4, 4096).expand(1, 3, 2, 4096)
    luma = from_rgb(ramp, PixelLayout("420", 10), ColorTags(matrix=9, chroma_location=1))[0][0, 0].int()
    steps = luma.diff()
    assert steps.unique().tolist() == [0, 1]
    assert len(luma.unique()) == int(luma[-1] - luma[0]) + 1 > 170


def test_unknown_matrix_is_named() -> None:
    with pytest.raises(SourceError, match="colour matrix 14"):
        to_rgb(tuple(torch.zeros(1, 2, 2) for _ in range(3)), PixelLayout("444"), ColorTags(matrix=14))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.pix_fmt)
@pytest.mark.parametrize("tags", TAGS, ids=str)
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_subpixel_tail_is_the_long_way(layout: PixelLayout, tags: ColorTags, scale: int) -> None:
    if not SubpixelTail.fits(scale, layout, tags):
        with pytest.raises(ValueError, match="does not fit"):
            SubpixelTail(scale, layout, tags, torch.device("cpu"))
        return
    generator = torch.Generator().manual_seed(scale)
    subpixels = torch.rand(2, 3 * scale**2, 6, 5, generator=generator) * 1.4 - 0.2
    long = from_rgb(F.pixel_shuffle(subpixels, scale), layout, tags)
    tail = SubpixelTail(scale, layout, tags, torch.device("cpu"))
    short = tail(subpixels.to(memory_format=torch.channels_last))
    for ours, theirs in zip(short, long, strict=True):
        difference = (ours.int() - theirs.int()).abs()
        assert int(difference.max()) <= 1
        assert float((difference > 0).float().mean()) < 0.02  # ties of rounding only


def test_resize_keeps_the_mean_and_filters() -> None:
    stripes = torch.zeros(1, 3, 90, 160)
    stripes[..., ::2] = 1
    small = resized(stripes, 30, 40)
    assert small.shape == (1, 3, 30, 40)
    assert float((small[..., 2:-2] - 0.5).abs().max()) < 0.05  # without antialiasing: all 0 or all 1
    assert resized(stripes, 90, 160) is stripes


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg judges")
@pytest.mark.parametrize(("location", "name"), [(1, "left"), (2, "center"), (3, "topleft")])
def test_agrees_with_zimg(location: int, name: str) -> None:
    """4:2:0 to RGB beside zimg's bicubic chroma, as an independent judge of siting, matrix and range together."""
    planes = from_rgb(smooth_rgb(48, 64), PixelLayout(), ColorTags(matrix=1, chroma_location=location))
    raw = b"".join(plane.numpy().tobytes() for plane in planes)
    graph = f"zscale=min=709:m=gbr:rin=limited:r=full:cin={name}:f=bicubic,format=gbrp"
    source = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "64x48", "-i", "-"]
    command = ["ffmpeg", "-v", "error", *source, "-vf", graph, "-f", "rawvideo", "-"]
    judged = subprocess.run(command, input=raw, capture_output=True, timeout=60, check=True).stdout
    green, blue, red = np.frombuffer(judged, np.uint8).reshape(3, 48, 64).astype(np.float32)
    ours = to_rgb(planes, PixelLayout(), ColorTags(matrix=1, chroma_location=location))[0].numpy() * 255
    difference = np.abs(ours - np.stack((red, green, blue)))[:, 4:-4, 4:-4]
    assert difference.mean() < 0.5
    assert difference.max() < 2.5
