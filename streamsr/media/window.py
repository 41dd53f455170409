"""Where decoding begins, and which of the decoded pictures belong to a part of the film."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import av

from streamsr.config import SourceConfig
from streamsr.errors import SourceError
from streamsr.frames import Window
from streamsr.media.damage import Damage
from streamsr.media.decode import decoded, packets_of
from streamsr.media.stamps import Timed

EARLIER_S = (0, 10, 120)
"""Demuxers land near a time, not on it: how much earlier to ask when they landed behind it."""


def pictures_before(container: Any, stream: Any, wanted: int, damage: Damage) -> Iterator[av.VideoFrame] | None:
    """Decoding from some key frame that is not later than `wanted` (ticks). None where no seek leads to one."""
    for earlier_s in EARLIER_S:
        if not _sought(container, stream, wanted, earlier_s):
            continue
        pictures = decoded(container, stream, damage)
        first = next(pictures, None)
        if first is not None and first.pts is not None and first.pts <= wanted:
            return chain([first], pictures)
    return None


def pictures_from_key(container: Any, stream: Any, key_pts: int, damage: Damage) -> Iterator[av.VideoFrame] | None:
    """Decoding that begins with exactly the key frame of that time (ticks): whatever the demuxer brings before it is
    read and dropped. None where no seek leads to it."""
    for earlier_s in EARLIER_S:
        if not _sought(container, stream, key_pts, earlier_s):
            continue
        packets = packets_of(container, stream, damage)
        key = _key_of(packets, key_pts)
        if key is not None:
            return decoded(container, stream, damage, chain([key], packets))
    return None


def near(pictures: Iterator[Timed], window: Window, damage: Damage) -> Iterator[Timed]:
    """The pictures of a window and one neighbour on either side, which a deinterlacer needs.

    What `damage` counted before the window is forgotten, so that the windows of a film count everything once."""
    start, end = window.start_pts, window.end_pts
    before = None
    for item in pictures:
        if start is not None and item.pts < start:
            before = item
            continue
        if start is not None:
            damage.forget()
            start = None
        if before is not None:
            yield before
            before = None
        yield item
        if end is not None and item.pts >= end:
            return


def within(pictures: Iterator[Timed], start: int | None, end: int | None) -> Iterator[Timed]:
    """Pictures with start <= pts < end (ticks), None for an open end, of a sequence in order."""
    for item in pictures:
        if end is not None and item.pts >= end:
            return
        if start is None or item.pts >= start:
            yield item


def nothing_decoded(path: str, cfg: SourceConfig, whole_s: float | None, damage: Damage) -> SourceError:
    """The error for a file, or for the range of it that `cfg` asks for, in which there is no picture."""
    length = f": it lasts {whole_s:.2f} s" if whole_s else ""
    if cfg.duration_s is not None:
        end_s = cfg.start_s + cfg.duration_s
        return SourceError(
            f"there is no picture between {cfg.start_s:g} s and {end_s:g} s{length}",
            where=path,
            remedy="Choose an earlier start, or a longer duration.",
        )
    if cfg.start_s:
        return SourceError(
            f"there is no picture at or after {cfg.start_s:g} s{length}", where=path, remedy="Choose an earlier start."
        )
    says = f"; FFmpeg says: {damage.first_error}" if damage.first_error else ""
    return SourceError(
        f"no picture could be decoded{says}",
        where=path,
        remedy="The file is damaged or has an empty video track: get it again.",
    )


def _sought(container: Any, stream: Any, target: int, earlier_s: int) -> bool:
    try:
        container.seek(target - round(earlier_s / stream.time_base), stream=stream, backward=True)
    except av.FFmpegError:
        return False
    return True


def _key_of(packets: Iterator[Any], key_pts: int) -> Any | None:
    """Reads up to that key frame; None as soon as a later one shows that it was missed."""
    for packet in packets:
        if packet.is_keyframe and packet.pts is not None and not packet.is_discard:
            if packet.pts == key_pts:
                return packet
            if packet.pts > key_pts:
                return None
    return None
