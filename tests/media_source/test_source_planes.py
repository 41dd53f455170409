"""Every pixel format becomes planes without losing a sample; nothing is scaled between ranges."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.filter import Graph

from streamsr.config import SourceConfig
from streamsr.media.planes import LayoutConverter, layout_of, planes_of
from streamsr.media.source import open_source
from tests.media import make_clip

WIDTH, HEIGHT = 38, 22
TARGETS = {
    "yuv420p": "yuv420p",
    "yuvj420p": "yuv420p",
    "yuvj422p": "yuv422p",
    "yuva420p": "yuv420p",
    "yuva444p10le": "yuv444p10le",
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "p010le": "yuv420p10le",
    "yuv440p": "yuv444p",
    "yuvj440p": "yuv444p",
    "yuv411p": "yuv422p",
    "yuv410p": "yuv420p",
    "uyvy422": "yuv422p",
    "yuv420p9le": "yuv420p10le",
    "yuv422p14le": "yuv422p12le",
    "yuv444p16le": "yuv444p12le",
    "yuv420p10be": "yuv420p10le",
    "gray": "yuv420p",
    "gray10le": "yuv420p10le",
    "gray16be": "yuv420p12le",
    "ya8": "yuv420p",
    "monob": "yuv420p",
    "pal8": "gbrp",
    "rgb24": "gbrp",
    "bgr0": "gbrp",
    "rgba": "gbrp",
    "gbrap": "gbrp",
    "rgb565le": "gbrp",
    "rgb48le": "gbrp12le",
    "rgba64be": "gbrp12le",
    "gbrp10le": "gbrp10le",
    "x2rgb10le": "gbrp10le",
    "xyz12le": "gbrp12le",
    "gbrpf32le": "gbrp12le",
}


def noise(pixel_format: str, bits: int = 8, shift: int = 0) -> Any:
    """A picture of random samples; above 8 bit, of `bits` shifted left by `shift`."""
    frame: Any = av.VideoFrame(WIDTH, HEIGHT, pixel_format)
    random = np.random.default_rng(7)
    for plane in frame.planes:
        samples = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16)
        samples[:] = random.integers(0, 1 << bits, samples.size) << shift
    return frame


def rows(frame: Any, index: int, width: int, dtype: Any = np.uint8) -> np.ndarray:
    plane = frame.planes[index]
    samples: np.ndarray = np.frombuffer(plane, dtype)
    return samples.reshape(-1, plane.line_size // np.dtype(dtype).itemsize)[:, :width]


def converted(frame: av.VideoFrame, *, full_range: bool = False) -> tuple[np.ndarray, ...]:
    layout = layout_of(frame.format)
    picture = LayoutConverter(layout, 1).convert(frame, full_range=full_range)
    return planes_of(picture, layout)


@pytest.mark.parametrize("pixel_format", TARGETS)
def test_every_format_has_a_layout_that_holds_it(pixel_format: str) -> None:
    frame = noise(pixel_format)
    layout = layout_of(frame.format)
    assert layout.pix_fmt == TARGETS[pixel_format]
    planes = converted(frame)
    assert tuple(plane.shape for plane in planes) == layout.plane_shapes(WIDTH, HEIGHT)
    assert all(plane.dtype == layout.dtype and not plane.flags.writeable for plane in planes)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuva420p", "gbrap", "gray"])
def test_planes_that_are_there_are_not_copied(pixel_format: str) -> None:
    frame = noise(pixel_format)
    planes = converted(frame)
    np.frombuffer(frame.planes[0], np.uint8)[0] ^= 0xFF
    assert planes[0][0, 0] == np.frombuffer(frame.planes[0], np.uint8)[0]


@pytest.mark.parametrize("full_range", [False, True])
def test_semi_planar_is_exact(full_range: bool) -> None:
    for name, order, dtype, shift in (
        ("nv12", (0, 1), np.uint8, 0),
        ("nv21", (1, 0), np.uint8, 0),
        ("p010le", (0, 1), np.uint16, 6),
    ):
        frame = noise(name, 8 if dtype is np.uint8 else 10, shift)
        luma, *chroma = converted(frame, full_range=full_range)
        assert (luma == rows(frame, 0, WIDTH, dtype)[:HEIGHT] >> shift).all()
        pairs = rows(frame, 1, WIDTH, dtype)[: HEIGHT // 2] >> shift
        assert all((chroma[index] == pairs[:, order[index] :: 2]).all() for index in (0, 1))


def test_packed_rgb_is_exact() -> None:
    for name, step, green_blue_red in (("rgb24", 3, (1, 2, 0)), ("bgr0", 4, (1, 0, 2)), ("argb", 4, (2, 3, 1))):
        frame = noise(name)
        pixels = rows(frame, 0, WIDTH * step)[:HEIGHT].reshape(HEIGHT, WIDTH, step)
        for plane, channel in zip(converted(frame), green_blue_red, strict=True):
            assert (plane == pixels[..., channel]).all()


def test_palette_is_exact() -> None:
    frame = noise("pal8")
    palette = np.frombuffer(frame.planes[1], np.uint8).reshape(256, 4)
    pixels = palette[rows(frame, 0, WIDTH)[:HEIGHT]]
    for plane, channel in zip(converted(frame), (1, 0, 2), strict=True):
        assert (plane == pixels[..., channel]).all()


@pytest.mark.parametrize("pixel_format", ["yuv440p", "yuv411p", "yuv410p"])
@pytest.mark.parametrize("full_range", [False, True])
def test_luma_stays_when_chroma_is_filled_up(pixel_format: str, full_range: bool) -> None:
    frame = noise(pixel_format)
    assert (converted(frame, full_range=full_range)[0] == rows(frame, 0, WIDTH)[:HEIGHT]).all()


def test_full_range_jpeg_formats_are_not_squeezed() -> None:
    frame = noise("yuvj440p")
    assert (converted(frame, full_range=True)[0] == rows(frame, 0, WIDTH)[:HEIGHT]).all()


def test_flat_areas_of_odd_depths_are_shifted() -> None:
    for name, level, expected in (("yuv420p9le", 200, 400), ("yuv422p14le", 4000, 1000), ("yuv444p16le", 32768, 2048)):
        frame: Any = av.VideoFrame(WIDTH, HEIGHT, name)
        for plane in frame.planes:
            np.frombuffer(plane, np.uint16)[:] = level
        for view in converted(frame):
            assert np.abs(view.astype(int) - expected).max() <= 1


def test_gray_has_flat_chroma() -> None:
    for name, bits, middle in (("gray", 8, 128), ("gray10le", 10, 512), ("gray12le", 12, 2048)):
        frame = noise(name, bits)
        luma, *chroma = converted(frame, full_range=True)
        assert (luma == rows(frame, 0, WIDTH, np.uint8 if bits == 8 else np.uint16)[:HEIGHT]).all()
        assert all((plane == middle).all() for plane in chroma)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12", "rgb24"])
def test_upside_down_pictures_stand_upright(pixel_format: str) -> None:
    """Some decoders give the last row first, with negative strides; FFmpeg's vflip does the same."""
    frame = noise(pixel_format)
    expected = [plane[::-1].copy() for plane in converted(frame)]
    graph = Graph()
    source = graph.add_buffer(width=WIDTH, height=HEIGHT, format=frame.format, time_base=Fraction(1))
    graph.link_nodes(source, graph.add("vflip"), graph.add("buffersink")).configure()
    frame.pts, frame.time_base = 0, Fraction(1)
    graph.vpush(frame)
    flipped = graph.vpull()
    assert flipped.planes[0].line_size < 0
    planes = converted(flipped)
    assert all((plane == wanted).all() for plane, wanted in zip(planes, expected, strict=True))
    assert all(plane.strides[0] > 0 and not plane.flags.writeable for plane in planes)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mp4", "libx264", "yuv422p10le"),
        ("a.mp4", "libx265", "yuv444p12le"),
        ("a.mkv", "ffv1", "gbrp12le"),
        ("a.mkv", "ffv1", "bgra"),
        ("a.mov", "mjpeg", "yuvj422p"),
        ("a.mov", "mjpeg", "yuvj444p"),
    ],
)
def test_bytes_are_those_of_the_ffmpeg_command(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg as a judge")
    clip = make_clip(tmp_path / name, frames=3, size=(50, 34), codec=codec, pix_fmt=pix_fmt)
    with open_source(clip, SourceConfig()) as source:
        ours = b"".join(plane.tobytes() for frame in source.frames() for plane in frame.planes)
        wanted = source.info.layout.pix_fmt
    if pix_fmt.startswith("yuvj"):
        wanted = pix_fmt
    command = ["ffmpeg", "-v", "error", "-i", str(clip), "-vsync", "0", "-pix_fmt", wanted, "-f", "rawvideo", "-"]
    assert ours == subprocess.run(command, check=True, capture_output=True, timeout=30).stdout
