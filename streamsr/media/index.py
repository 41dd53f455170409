"""The pictures of a video track as its packets tell them, without decoding any."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamsr.config import SourceConfig
from streamsr.errors import SourceError
from streamsr.frames import FrameIndex
from streamsr.media import probe
from streamsr.media.damage import Damage
from streamsr.media.decode import only, packets_of
from streamsr.media.keyframes import HEAD_BYTES, safety_of, shows_nothing

PATIENCE_S = 60.0
MAX_REORDER, MAX_REACH = 16, 64
"""Pictures that may be decoded before one that is shown before them (H.264, H.265), and within how many packets."""
HEADERLESS = frozenset(["cavsvideo", "dirac", "h263", "h264", "hevc", "m4v", "mjpeg", "mpegvideo", "obu", "vc1", "vvc"])
"""FFmpeg's names of raw streams: their times are counted by the demuxer, from wherever it began to read."""
READ_WHOLE = frozenset(["mpeg4", "vp8", "vp9"])
"""Codecs whose packets may hold no picture, or two."""
PICTURE_OF_MPEG4 = b"\0\0\1\xb6"


def index_frames(path: str | Path, cfg: SourceConfig) -> FrameIndex:
    """Reads all packets of the track that `open_source` takes. Packets without a picture of their own (edited out,
    never shown) are left out. `cfg` has the decoder: DALI's always begins with the first picture.

    Where times are missing, `pts` holds what they will roughly be. Raises SourceError as `open_source` does for a
    file that is none."""
    where = str(path)
    probe.check_file(where)
    try:
        with av.open(where, timeout=PATIENCE_S, metadata_errors="replace") as container:
            stream = probe.choose_stream(container, where)
            only(container, stream)
            return _index(container, stream, cfg)
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise probe.unreadable(error, where) from error


@dataclass(slots=True)
class _Columns:
    """One entry per picture, in decode order. `no_time`: how many had none."""

    pts: array[int] = field(default_factory=lambda: array("q"))
    is_key: array[int] = field(default_factory=lambda: array("b"))
    is_safe: array[int] = field(default_factory=lambda: array("b"))
    num_bytes: array[int] = field(default_factory=lambda: array("q"))
    no_time: int = 0
    trouble: str = ""

    def add(self, packet: Any, is_safe: bool) -> None:
        self.no_time += packet.pts is None
        self.pts.append(packet.pts or 0)
        self.is_key.append(packet.is_keyframe)
        self.is_safe.append(is_safe)
        self.num_bytes.append(packet.size)

    def clear(self) -> None:
        self.pts, self.is_key, self.is_safe, self.num_bytes = array("q"), array("b"), array("b"), array("q")
        self.no_time = 0


def _index(container: Any, stream: Any, cfg: SourceConfig) -> FrameIndex:
    context = stream.codec_context
    codec = context.codec.canonical_name
    columns, is_safe = _Columns(), safety_of(context)
    columns.trouble = _known_trouble(container, context, cfg)
    if is_safe is None:
        columns.trouble = columns.trouble or f"nothing is known of the key frames of {codec}"
    any_key = False
    for packet in packets_of(container, stream, Damage()):
        if packet.is_keyframe and not any_key:
            columns.clear()  # no decoder shows what comes before the first key frame
            any_key = True
        if packet.is_discard:
            continue
        if codec in READ_WHOLE:
            data = bytes(packet)
            if shows_nothing(codec, data):
                continue
            if codec == "mpeg4" and data.count(PICTURE_OF_MPEG4) > 1:
                columns.trouble = columns.trouble or "some packets hold two pictures"
        if packet.has_sidedata("new_extradata"):
            columns.trouble = columns.trouble or "its parameters change in mid-stream"
        may_begin = False
        if is_safe is not None and packet.is_keyframe and not packet.is_corrupt:
            may_begin = is_safe(bytes(memoryview(packet)[:HEAD_BYTES]))
        columns.add(packet, may_begin)
    return _finished(columns, Fraction(stream.time_base), probe.rate_of(stream, []))


def _known_trouble(container: Any, context: Any, cfg: SourceConfig) -> str:
    if cfg.decoder == "dali":
        return "DALI decodes from the first picture on"
    if container.format.name in HEADERLESS:
        return "a raw stream has no times"
    if context.name == "h264" and (context.pix_fmt or "").startswith("yuv444"):
        return "H.264 in 4:4:4 is decoded right only from the first picture on"
    return ""


def _finished(columns: _Columns, tick: Fraction, rate: Fraction | None) -> FrameIndex:
    pts = np.array(columns.pts, np.int64)
    is_safe = np.array(columns.is_safe, bool)
    counted = bool(columns.no_time)
    trouble = columns.trouble
    if columns.no_time:
        trouble = trouble or f"{columns.no_time} of {len(pts)} pictures have no time"
    elif len(pts):
        if len(np.unique(pts)) < len(pts):
            trouble = trouble or "some pictures have the time of others"
        counted = _restarts(pts)
        if counted:
            trouble = trouble or "its clock runs backwards"
        # Nothing that is shown from a safe key frame on may have been decoded before it.
        is_safe[1:] &= pts[1:] > np.maximum.accumulate(pts)[:-1]
    if trouble:
        is_safe[:] = False
    if counted:  # what the repair of the stamps will roughly make of them
        step = max(1, round(1 / (rate * tick))) if rate else 1
        pts = pts[0] + step * np.arange(len(pts), dtype=np.int64)
    return FrameIndex(
        pts, np.array(columns.is_key, bool), is_safe, np.array(columns.num_bytes, np.int64), tick, trouble
    )


def _restarts(pts: np.ndarray) -> bool:
    """Whether some picture is shown before more of its predecessors than a decoder would hold back."""
    behind = np.zeros(len(pts), np.int64)
    for distance in range(1, min(MAX_REACH, len(pts))):
        behind[distance:] += pts[:-distance] > pts[distance:]
    far = np.maximum.accumulate(pts)[:-MAX_REACH] > pts[MAX_REACH:] if len(pts) > MAX_REACH else np.zeros(1, bool)
    return bool((behind > MAX_REORDER).any() or far.any())
