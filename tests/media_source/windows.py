"""Films for the tests of windows and of the index: small, moving, with scene changes, of any codec; and the comparison
of a film with its windows."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamsr.chunks.plan import Plan, plan_chunks
from streamsr.config import SourceConfig
from streamsr.frames import VideoInfo, Window
from streamsr.media.damage import Damage
from streamsr.media.index import index_frames
from streamsr.media.source import open_source

WIDTH, HEIGHT = 96, 64
INTERLACED = 1 << 18 | 1 << 29
"""AV_CODEC_FLAG_INTERLACED_DCT and _INTERLACED_ME."""

Seen = tuple[int, int, Fraction, int, int, int]
"""pts, duration, time base, width, height, checksum of the planes."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """How to encode one. `options`: the encoder's; `params`: x264's or x265's own."""

    codec: str
    params: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    frames: int = 75
    pix_fmt: str = "yuv420p"
    gop: int | None = None
    b_frames: int | None = None
    flags: int = 0
    pts: Sequence[int] | None = None
    """In milliseconds; default 25 pictures a second."""
    start: int = 0
    """Added to every pts."""
    container_options: dict[str, str] = field(default_factory=dict)


def make_film(path: Path, film: Film) -> Path:
    with av.open(str(path), "w", container_options=film.container_options) as output:
        stream: Any = output.add_stream(film.codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, film.pix_fmt
        context = stream.codec_context
        context.thread_count = 1
        if film.pts is not None:
            context.time_base = Fraction(1, 1000)
        if film.b_frames is not None:
            context.max_b_frames = film.b_frames
        if film.gop is not None:
            context.gop_size = film.gop
        context.flags |= film.flags
        context.options = _options(film)
        for number in range(film.frames):
            picture = draw(number).reformat(format=film.pix_fmt)
            picture.pts = film.start + (number if film.pts is None else film.pts[number])
            picture.time_base = context.time_base or Fraction(1, 25)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


def draw(number: int) -> av.VideoFrame:
    """A drifting wave over texture that changes every 31 pictures: everything predicts, and nothing for nothing."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    texture = np.random.default_rng(number // 31).integers(0, 60, (HEIGHT, WIDTH))
    wave = 110 + 60 * np.sin((x + 2 * number) / 9) * np.cos((y - number) / 7)
    luma = (wave + np.roll(texture, 2 * number, axis=1)).astype(np.uint8)
    picture = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    planes: Any = picture.planes
    for plane, pixels in zip(planes, (luma, luma[::2, ::2], 255 - luma[::2, ::2]), strict=True):
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: pixels.shape[0], : pixels.shape[1]] = pixels
    return picture


def seen(path: Path, cfg: SourceConfig, window: Window | None = None) -> tuple[list[Seen], VideoInfo, Damage]:
    """Every picture of a film or of a window of it."""
    pictures: list[Seen] = []
    with open_source(path, cfg, window=window) as source:
        for number, frame in enumerate(source.frames()):
            assert frame.stamp.index == number
            checksum = 0
            for plane in frame.planes:
                checksum = zlib.crc32(plane.tobytes(), checksum)
            stamp = frame.stamp
            pictures.append((stamp.pts, stamp.duration, stamp.time_base, frame.width, frame.height, checksum))
        return pictures, source.info, source.damage


def assert_windows_are_the_whole(
    path: Path, seconds: float, cfg: SourceConfig | None = None, cuts: Sequence[int] = ()
) -> Plan:
    """The windows of a plan, one after the other, give the pictures, times, description and damage of the film."""
    cfg = cfg or SourceConfig()
    whole, info, damage = seen(path, cfg)
    with open_source(path, cfg) as source:
        span = source.span_pts
    plan = plan_chunks(index_frames(path, cfg), seconds, *span, cuts=cuts)
    joined: list[Seen] = []
    counted = Damage()
    for chunk in plan.chunks:
        part, same_info, own = seen(path, cfg, chunk.window)
        assert same_info == info
        joined += part
        counted.bad_packets += own.bad_packets
        counted.missing_stamps += own.missing_stamps
        counted.disordered_stamps += own.disordered_stamps
    assert [picture[:3] for picture in joined] == [picture[:3] for picture in whole]
    assert [a[0] for a, b in zip(joined, whole, strict=True) if a != b] == [], "pictures differ"
    assert counted.bad_packets == damage.bad_packets
    assert counted.missing_stamps == damage.missing_stamps
    assert counted.disordered_stamps == damage.disordered_stamps
    return plan


def _options(film: Film) -> dict[str, str]:
    options = dict(film.options)
    if film.codec == "libx264":
        options = {"preset": "veryfast", "x264-params": film.params} | options
    if film.codec == "libx265":
        quiet = "log-level=none:pools=1:frame-threads=1"
        options = {"preset": "ultrafast", "x265-params": f"{quiet}:{film.params}"} | options
    return options
