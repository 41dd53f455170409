"""RGB pictures written as a clip for people to look at, or to keep."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph

from streamsr.errors import ConfigError, FrameMismatch, as_sink_error
from streamsr.frames import MATRIX_BT709
from streamsr.media.chroma import Picture, padded
from streamsr.media.color import RANGE_LIMITED
from streamsr.media.target import TargetFile

LOSSLESS, PLAYABLE = (".mkv",), (".mp4", ".mov", ".m4v")
CRF = "6"
"""Of x264: errors of about one level. Lossless H.264 would need a profile that few players know."""


def write_clip(
    path: str | Path,
    frames: Iterable[Picture],
    rate: Fraction | float,
    *,
    source: str | Path = "",
    overwrite: bool = False,
) -> int:
    """Writes HWC uint8 RGB pictures of one size, `rate` per second, and returns how many. `frames` may be a generator.

    .mp4, .mov, .m4v: H.264 4:2:0 at a very high quality, because every player, browser and phone opens that, while
    4:4:4 and lossless H.264 stay black in many. Colour has half the resolution, and a side of odd length gains a pixel.
    .mkv: FFV1 in RGB, every bit kept, for players built on FFmpeg (mpv, VLC).
    The file appears at once when it is complete, and replaces none unless `overwrite`; never `source`.
    Raises ConfigError for other suffixes and without pictures, SinkError where it cannot be written."""
    target_path = Path(path)
    suffix = target_path.suffix.lower()
    if suffix not in LOSSLESS + PLAYABLE:
        raise ConfigError(
            f"a clip is not written as {suffix or 'a file without suffix'}",
            where=str(path),
            remedy="Use .mp4 to look at it anywhere, or .mkv to keep every bit.",
        )
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise ConfigError("there are no pictures to write", where=str(path))
    target = TargetFile(target_path, str(source), overwrite)
    try:
        count = _write(str(target.part), chain([first], pictures), rate, is_lossless=suffix in LOSSLESS)
        target.commit()
    except (av.FFmpegError, OSError) as error:
        raise as_sink_error(error, target_path) from error
    finally:
        target.discard()
    return count


def _write(part: str, pictures: Iterable[Picture], rate: Fraction | float, *, is_lossless: bool) -> int:
    pace = Fraction(rate).limit_denominator(1001)
    options = {} if is_lossless else {"movflags": "+faststart"}
    packets = count = 0
    with av.open(part, "w", options=options) as output:
        stream: Any = None
        for count, picture in enumerate(pictures, 1):
            if stream is None:
                stream = _add_stream(output, picture, pace, is_lossless)
                graph = _graph(stream)
            graph.push(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture) if is_lossless else padded(picture)))
            frame: Any = graph.pull()
            frame.pts, frame.time_base = count - 1, 1 / pace
            for packet in stream.encode(frame):
                output.mux(packet)
                packets += 1
        for packet in stream.encode(None):
            output.mux(packet)
            packets += 1
    if packets != count:
        raise FrameMismatch(f"{packets} pictures were coded, not {count}", stage="encode")
    return count


def _graph(stream: Any) -> Graph:
    """rgb24 in, the stream's pixels out. A filter, because it alone can be told where chroma samples shall sit: left,
    as players take for granted in H.264."""
    graph = Graph()
    graph.threads = 1
    size = f"{stream.width}x{stream.height}"
    source = graph.add("buffer", video_size=size, pix_fmt="rgb24", time_base="1/25", colorspace="gbr", range="pc")
    yuv = {"out_color_matrix": "bt709", "out_range": "tv", "out_chroma_loc": "left"}
    flags = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    scale = graph.add("scale", flags=flags, **(yuv if stream.pix_fmt == "yuv420p" else {}))
    kind = graph.add("format", pix_fmts=stream.pix_fmt)
    graph.link_nodes(source, scale, kind, graph.add("buffersink")).configure()
    return graph


def _add_stream(output: Any, like: Picture, rate: Fraction, is_lossless: bool) -> Any:
    stream = output.add_stream("ffv1" if is_lossless else "libx264", rate=rate)
    context = stream.codec_context
    context.time_base = 1 / rate
    if is_lossless:
        stream.height, stream.width = like.shape[:2]
        stream.pix_fmt = "bgr0"
        context.options = {"level": "3", "slicecrc": "1", "g": "1"}
        return stream
    stream.height, stream.width = padded(like).shape[:2]
    stream.pix_fmt = "yuv420p"
    context.options = {"preset": "veryfast", "crf": CRF}
    context.colorspace = context.color_primaries = context.color_trc = MATRIX_BT709
    context.color_range = RANGE_LIMITED
    return stream
