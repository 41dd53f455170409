"""Clips for tests, made by PyAV, with the number of every picture drawn into it.

A bar code of 8 x 4 cells fills the upper three quarters of the picture: lost, doubled and permuted pictures are read
back from an output with `read_number(luma)`. Each bit is a cell above its own complement, so no threshold is needed;
four cells are fixed, so that a mirrored or turned picture does not read as another number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.container import OutputContainer

from streamsr.frames import Frame, PixelLayout, Stamp
from tests.media_tracks import AudioTrack, SubtitleTrack, write_audio, write_cover, write_subtitles

__all__ = ["AudioTrack", "Clip", "SubtitleTrack", "draw_frame", "draw_planes", "make_clip", "read_number"]

COLUMNS, ROWS, NUMBER_BITS = 8, 4, 11
DARK, BRIGHT = 40, 210
LAYOUTS = {
    layout.pix_fmt: layout
    for layout in (
        *(PixelLayout(s, d) for s in ("420", "422", "444") for d in (8, 9, 10, 12)),
        *(PixelLayout("444", d, is_rgb=True) for d in (8, 9, 10, 12)),
    )
}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What `make_clip` writes. Every default is the plainest choice; numbers run from `first_number`, below 2048."""

    frames: int = 12
    size: tuple[int, int] = (64, 48)
    rate: Fraction = Fraction(24)
    first_number: int = 0
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    """Encoder options, added to lossless-leaning ones for libx264, libx265."""
    b_frames: int = 0
    gop: int = 12
    time_base: Fraction | None = None
    """Ticks of `pts`; default 1/rate. The container may choose its own, the times stay."""
    pts: Sequence[int] | None = None
    """Variable frame rate: the time of each picture in `time_base` ticks, increasing."""
    start_s: Fraction = Fraction(0)
    """Moves all pictures (not the audio) later, or earlier where the container has negative times."""
    rotation: int = 0
    """Degrees COUNTER-clockwise that a player turns the picture, as FFmpeg's display matrix."""
    hflip: bool = False
    sample_aspect: Fraction | None = None
    interlaced: Literal["", "tff", "bff"] = ""
    full_range: bool | None = None
    matrix: int | None = None
    primaries: int | None = None
    transfer: int | None = None
    audio: Sequence[AudioTrack] = ()
    subtitles: Sequence[SubtitleTrack] = ()
    chapters: Sequence[tuple[float, float, str]] = ()
    """(start, end, title), seconds."""
    attachments: Sequence[tuple[str, str, bytes]] = ()
    """(file name, MIME type, content), Matroska only."""
    cover: bool = False
    """A PNG as cover art (attached picture), after the video track."""
    metadata: dict[str, str] = field(default_factory=dict)
    language: str = ""
    """Of the video track."""
    container: str | None = None
    """FFmpeg's name of the format; default: by the path's suffix."""
    container_options: dict[str, str] = field(default_factory=dict)


def make_clip(path: Path | str, clip: Clip | None = None, /, **changes: Any) -> Path:
    """Write a clip: `make_clip(tmp_path / "a.mp4", frames=5, size=(33, 17))`, or a prepared `Clip`."""
    clip = clip or Clip(**changes)
    path = Path(path)
    with av.open(str(path), "w", format=clip.container, container_options=clip.container_options) as output:
        output.metadata.update(clip.metadata)
        if clip.chapters:
            output.set_chapters(
                [
                    {
                        "id": number,
                        "start": round(start * 1000),
                        "end": round(end * 1000),
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": title},
                    }
                    for number, (start, end, title) in enumerate(clip.chapters)
                ]
            )
        packets = _video_packets(output, clip)
        packets += [packet for track in clip.audio for packet in write_audio(output, track, _seconds(clip))]
        packets += [packet for track in clip.subtitles for packet in write_subtitles(output, track, path)]
        if clip.cover:
            packets += write_cover(output)
        for name, mimetype, content in clip.attachments:
            output.add_attachment(name, mimetype, content)
        for packet in sorted(packets, key=lambda packet: (packet.dts or 0) * (packet.time_base or 1)):
            output.mux(packet)
    return path


def draw_planes(number: int, layout: PixelLayout, width: int, height: int) -> tuple[np.ndarray, ...]:
    """The three planes of picture `number`: levels of limited range for YUV, all alike for RGB."""
    luma = np.empty((height, width), np.uint16)
    code_rows = max(ROWS, height * 3 // 4)
    for row in range(ROWS):
        for column in range(COLUMNS):
            cell = luma[
                code_rows * row // ROWS : code_rows * (row + 1) // ROWS,
                width * column // COLUMNS : width * (column + 1) // COLUMNS,
            ]
            cell[:] = BRIGHT if _cells(number)[row][column] else DARK
    ramp = np.linspace(DARK, BRIGHT, width, dtype=np.uint16)
    luma[code_rows:] = np.roll(ramp, 3 * number)
    planes = []
    for index, (rows, columns) in enumerate(layout.plane_shapes(width, height)):
        plane = luma
        if index and not layout.is_rgb:
            x, y = np.arange(columns), np.arange(rows)[:, None]
            plane = (96 + 64 * ((x if index == 1 else y) / max(columns, rows)) + 0 * (x + y)).astype(np.uint16)
        planes.append((plane << (layout.depth - 8)).astype(layout.dtype))
    return tuple(planes)


def draw_frame(number: int, layout: PixelLayout, width: int, height: int, rate: Fraction = Fraction(24)) -> Frame:
    """Picture `number` as a source would yield it, at index and pts `number`, of duration one tick of 1/rate."""
    planes = draw_planes(number, layout, width, height)
    return Frame(Stamp(number, number, 1, 1 / rate), planes, layout, width, height)


def read_number(luma: np.ndarray) -> int:
    """The number drawn into a picture, from its upright luma (or green) plane of any size >= 16x6, depth and range.

    Survives lossy coding and scaling. Raises AssertionError where no number can be read."""
    height, width = luma.shape
    code_rows = max(ROWS, height * 3 // 4)
    means = np.empty((ROWS, COLUMNS))
    for row in range(ROWS):
        for column in range(COLUMNS):
            top, bottom = code_rows * row / ROWS, code_rows * (row + 1) / ROWS
            left, right = width * column / COLUMNS, width * (column + 1) / COLUMNS
            inset_y, inset_x = (bottom - top) / 4, (right - left) / 4
            rows = slice(int(top + inset_y), max(int(top + inset_y) + 1, int(bottom - inset_y)))
            columns = slice(int(left + inset_x), max(int(left + inset_x) + 1, int(right - inset_x)))
            means[row, column] = luma[rows, columns].mean()
    contrast = np.concatenate([means[0] - means[1], means[2] - means[3]])
    assert np.abs(contrast).min() > 0.3 * np.abs(contrast).max() > 0, f"no number in this picture: {contrast.round(1)}"
    bits = contrast > 0
    assert (bits[0], bits[7], bits[8], bits[15]) == (True, False, True, True), "the picture is turned or mirrored"
    payload = np.concatenate([bits[1:7], bits[9:15]])
    assert payload.sum() % 2 == 0, "parity of the drawn number is wrong"
    return int(sum(1 << place for place in range(NUMBER_BITS) if payload[place]))


def _cells(number: int) -> list[list[bool]]:
    """Four rows of eight cells: bits, complements, bits, complements."""
    if not 0 <= number < 1 << NUMBER_BITS:
        raise ValueError(f"cannot draw the number {number}")
    payload = [bool(number >> place & 1) for place in range(NUMBER_BITS)]
    payload.append(sum(payload) % 2 == 1)
    upper, lower = [True, *payload[:6], False], [True, *payload[6:], True]
    return [upper, [not bit for bit in upper], lower, [not bit for bit in lower]]


def _seconds(clip: Clip) -> float:
    if clip.pts and len(clip.pts) > 1:
        return float((2 * clip.pts[-1] - clip.pts[-2]) * (clip.time_base or 1 / clip.rate))
    return float(clip.frames / clip.rate)


def _video_packets(output: OutputContainer, clip: Clip) -> list[Any]:
    """Adds the video stream and encodes all pictures; nothing is muxed before all streams exist."""
    stream: Any = output.add_stream(clip.codec, rate=clip.rate)
    stream.width, stream.height = clip.size
    stream.pix_fmt = clip.pix_fmt
    context = stream.codec_context
    context.thread_count = 1
    context.time_base = clip.time_base or 1 / clip.rate
    if clip.codec in ("libx264", "libx265", "mpeg4", "mpeg2video"):
        context.max_b_frames = clip.b_frames
        context.gop_size = clip.gop
    context.options = _encoder_options(clip)
    if clip.interlaced:
        context.flags |= 1 << 18 | 1 << 29  # AV_CODEC_FLAG_INTERLACED_DCT and _INTERLACED_ME
    for name, value in _tags(clip).items():
        setattr(context, name, value)
    if clip.sample_aspect is not None:
        context.sample_aspect_ratio = stream.sample_aspect_ratio = clip.sample_aspect
    if clip.rotation or clip.hflip:
        stream.set_display_rotation(clip.rotation, clip.hflip)
    if clip.language:
        stream.metadata["language"] = clip.language
    pts = list(clip.pts) if clip.pts is not None else list(range(clip.frames))
    shift = round(clip.start_s / context.time_base)
    packets: list[Any] = []
    for index in range(clip.frames):
        frame = _av_frame(clip, clip.first_number + index)
        frame.pts, frame.time_base = pts[index] + shift, context.time_base
        packets += stream.encode(frame)
    packets += stream.encode(None)
    return packets


def _encoder_options(clip: Clip) -> dict[str, str]:
    options = {}
    if clip.codec == "libx264":
        options = {"preset": "veryfast", "crf": "12"}
        if clip.interlaced:
            options["x264-params"] = f"{clip.interlaced}=1"
    elif clip.codec == "libx265":
        options = {"preset": "ultrafast", "crf": "12", "x265-params": "log-level=error:pools=1:frame-threads=1"}
    elif clip.codec in ("mpeg4", "mpeg2video", "mjpeg"):
        options = {"qmin": "1", "qmax": "3"}
    return options | clip.options


def _tags(clip: Clip) -> dict[str, int]:
    wanted = {
        "colorspace": clip.matrix,
        "color_primaries": clip.primaries,
        "color_trc": clip.transfer,
        "color_range": None if clip.full_range is None else 2 if clip.full_range else 1,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _av_frame(clip: Clip, number: int) -> av.VideoFrame:
    width, height = clip.size
    layout = LAYOUTS.get(clip.pix_fmt) or PixelLayout("444", is_rgb=av.VideoFormat(clip.pix_fmt).is_rgb)
    planes = draw_planes(number, layout, width, height)
    frame = av.VideoFrame(width, height, layout.pix_fmt)
    targets: Any = frame.planes
    for plane, target in zip(planes, targets, strict=True):
        view = np.frombuffer(target, layout.dtype).reshape(-1, target.line_size // layout.dtype.itemsize)
        view[: plane.shape[0], : plane.shape[1]] = plane
    if layout.pix_fmt != clip.pix_fmt:
        frame = frame.reformat(format=clip.pix_fmt)
    for name, value in _tags(clip).items():
        setattr(frame, name, value)
    return frame
