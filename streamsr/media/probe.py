"""What a file says of its video track, checked against what its first pictures look like."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from av.stream import Disposition

from streamsr.errors import SourceError
from streamsr.frames import HdrMetadata, Orientation

OWN_CLOCK = ("mov,mp4", "matroska", "webm")
"""Containers whose time 0 is the beginning of the programme. In all others the clock starts anywhere."""
BELIEVABLE_RATE = (Fraction(1, 60), Fraction(150))
"""Pictures per second of header fields; beyond, timestamps decide."""
MAX_SIDE = 16384
"""Larger pictures are refused: no codec would hold the result, and the file may be a bomb."""
NAMED_PROFILES = ("png", "apng")
"""Codecs whose side data is not touched: PyAV 18.1 frees the name of a PNG's ICC profile twice, and crashes."""
NOT_A_FILM = Disposition.attached_pic | Disposition.timed_thumbnails


def unreadable(error: Exception, path: str) -> SourceError:
    """What FFmpeg said of a file that it cannot open, in our words."""
    return SourceError(
        f"not a media file that FFmpeg can read: {getattr(error, 'strerror', None) or error}",
        where=path,
        remedy="It may be incomplete, or not video at all: try to play it.",
    )


def check_file(path: str) -> None:
    """Raises SourceError for what no demuxer should be asked about: a folder, a device, nothing, an empty file."""
    if os.path.isdir(path):
        raise SourceError("is a folder, not a video", where=path, remedy="Name a file in it.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise SourceError("is a device or a pipe, not a file", where=path, remedy="Save it to a file first.")
    try:
        with open(path, "rb") as file:
            empty = not file.read(1)
    except OSError as error:
        reason = error.strerror or "cannot be opened"
        raise SourceError(reason, where=path, remedy="Check the path and its permissions.") from error
    if empty:
        raise SourceError("the file is empty", where=path, remedy="Copy or download it again.")


def choose_stream(container: Any, where: str) -> Any:
    """The video track to upscale: marked as default, then the largest, then the first. Cover art never.

    Raises SourceError where there is none, or FFmpeg has no decoder for it."""
    films = [stream for stream in container.streams.video if not stream.disposition & NOT_A_FILM]
    if not films:
        kinds = sorted({stream.type for stream in container.streams if not stream.disposition & NOT_A_FILM})
        if len(container.streams.video):
            kinds.append("cover art")
        have = f"has no video track, only {', '.join(kinds)}" if kinds else "has no tracks"
        raise SourceError(have, where=where, remedy="Give a file with pictures in it.")
    decodable = [stream for stream in films if stream.codec_context is not None]
    if not decodable:
        raise SourceError(
            "no decoder for its video codec", where=where, remedy="Convert it with another program first."
        )
    return max(decodable, key=lambda s: (bool(s.disposition & Disposition.default), s.width * s.height, -s.index))


def check_size(width: int, height: int, where: str) -> None:
    if max(width, height) > MAX_SIDE:
        raise SourceError(
            f"pictures of {width}x{height} are too large", where=where, remedy=f"The limit is {MAX_SIDE} a side."
        )


def origin_of(container: Any) -> Fraction:
    """The moment on the container's clock that is shown first, in seconds; 0 where the clock starts at 0 by design.

    Fragmented or live-recorded MP4 and Matroska may begin hours in: believed from a minute on."""
    if container.start_time is None:
        return Fraction(0)
    start = Fraction(container.start_time, 1_000_000)
    if container.format.name.startswith(OWN_CLOCK) and start <= 60:
        return Fraction(0)
    return start


def duration_of(container: Any, stream: Any) -> float | None:
    """Seconds, from the track or else from the file."""
    if stream.duration and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration and container.duration > 0 else None


def rate_of(stream: Any, stamps: Sequence[int]) -> Fraction | None:
    """Pictures per second: the file's average, else its nominal rate, else measured on the first `stamps` (ticks)."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and BELIEVABLE_RATE[0] <= rate <= BELIEVABLE_RATE[1]:
            return Fraction(rate)
    steps = sorted(b - a for a, b in pairwise(stamps) if b > a)
    if not steps:
        return None
    measured = 1 / (steps[len(steps) // 2] * Fraction(stream.time_base))
    return measured.limit_denominator(1001) if BELIEVABLE_RATE[0] <= measured <= 1000 else None


def frames_of(stream: Any, rate: Fraction | None, duration_s: float | None) -> int | None:
    """The header's count of pictures where it agrees with duration and rate within 2 % or two pictures."""
    if not stream.frames or stream.frames < 0:
        return None
    if rate and duration_s and abs(stream.frames - float(rate) * duration_s) > max(2.0, 0.02 * stream.frames):
        return None
    return int(stream.frames)


def sample_aspect_of(stream: Any) -> tuple[Fraction, str]:
    """Width of a pixel by its height (the container's word before the codec's, as FFmpeg), and a notice or ""."""
    ratio = stream.sample_aspect_ratio
    if not ratio or ratio <= 0:
        return Fraction(1), ""
    if not Fraction(1, 20) <= ratio <= 20:
        return Fraction(1), f"pixels of {ratio.numerator}:{ratio.denominator} are not believed: shown square"
    return Fraction(ratio), ""


def orientation_of(picture: Any, codec: str) -> Orientation:
    """From the picture's display matrix, rounded to quarter turns.

    The matrix maps (x, y) of the stored picture to (a x + c y, b x + d y) on the screen, y downwards, in 16.16 fixed
    point, stored as a, b, u, c, d, v, x, y, w. A negative determinant is a mirror: turned = turn * flip(left-right)."""
    content = _side_data(picture, codec, "DISPLAYMATRIX")
    if content is None:
        return Orientation()
    a, b, _, c, d = struct.unpack("<9i", content)[:5]
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b  # undo the flip, which acts first: x -> -x
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(0 if a + d > 0 else 180, mirrored)
    return Orientation(90 if b - c > 0 else 270, mirrored)


def hdr_of(picture: Any, codec: str) -> HdrMetadata | None:
    """HDR10 static metadata from side data: AVMasteringDisplayMetadata, AVContentLightMetadata."""
    mastering = max_cll = max_fall = None
    display = _side_data(picture, codec, "MASTERING_DISPLAY_METADATA")
    if display is not None:
        values = struct.unpack("<22i", display[:88])
        if values[20] and values[21] and all(values[1:20:2]):
            mastering = tuple(Fraction(values[at], values[at + 1]) for at in range(0, 20, 2))
    light = _side_data(picture, codec, "CONTENT_LIGHT_LEVEL")
    if light is not None:
        max_cll, max_fall = struct.unpack("<2I", light[:8])
    if mastering is None and max_cll is None:
        return None
    return HdrMetadata(mastering, max_cll, max_fall)


def _side_data(picture: Any, codec: str, name: str) -> bytes | None:
    if codec in NAMED_PROFILES:
        return None
    try:
        found = picture.side_data.get(name)
    except ValueError:  # PyAV 18 reads none of it when one kind (as FFmpeg's EXIF, 31) is newer than its own list
        return None
    return None if found is None else bytes(found)
