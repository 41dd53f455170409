"""Pictures of files as RGB arrays: of a still, of chosen moments of a clip."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from streamsr.config import SourceConfig
from streamsr.errors import SourceError
from streamsr.frames import MATRIX_SMPTE170M, Orientation
from streamsr.media import color, probe
from streamsr.media.chroma import Picture
from streamsr.media.damage import Damage
from streamsr.media.decode import decoded, only, plain
from streamsr.media.index import index_frames
from streamsr.media.mended import evened, without_exif
from streamsr.media.planes import has_alpha
from streamsr.media.playable import write_clip
from streamsr.media.probe import check_file

__all__ = ["BEHIND", "clip_length", "read_clip", "read_picture", "upright", "write_clip"]

BEHIND = 208
"""Gray level that is seen through transparent pixels: light, so that dark line art keeps its outline."""
READ_TIMEOUT_S = 60.0
_SCALER = int(
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)


def read_picture(path: str | Path) -> Picture:
    """A still (of an animation the first picture) as HWC uint8 RGB, upright, a new array.

    Whatever FFmpeg reads: PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF; more than 8 bit are rounded, gray and palettes become
    RGB, transparent pixels show BEHIND. YUV without a stated matrix is BT.601, as JPEG, WebP and AVIF have it. EXIF is
    heeded except in PNG; transparency of AVIF is not. Raises SourceError that names the file if it cannot be read
    whole."""
    where = os.fspath(path)
    with _opened(where) as (container, stream):
        if stream.codec_context.name != "tiff":  # which would explode over a tag that it does not know
            stream.codec_context.options = {"err_detect": "explode"}  # half a picture is no picture
        stream.thread_type = "NONE"
        damage = Damage()
        frame = next(decoded(container, stream, damage), None)
        codec = stream.codec_context.name
        if frame is None or damage.bad_packets or frame.is_corrupt or (codec == "mjpeg" and _is_cut(where)):
            raise _unreadable(where, damage)
        probe.check_size(frame.width, frame.height, where)
        matrix = frame.colorspace if frame.colorspace in color.MATRICES[1:] else MATRIX_SMPTE170M
        is_full = color.is_full_range(frame, stream.codec_context, codec=codec, is_rgb=frame.format.is_rgb)
        rgb = _Converter(int(matrix), is_full).rgb(frame)
        return upright(rgb, probe.orientation_of(without_exif(frame), codec))


def clip_length(path: str | Path) -> int:
    """How many pictures a clip has: by its packets, or by decoding it where they do not tell. Remembered until the file
    changes. Raises SourceError if it is not a clip."""
    return _moments(os.fspath(path)).count


def read_clip(path: str | Path, start: int, count: int, step: int = 1) -> list[Picture]:
    """Pictures start, start + step, ... of a clip, counted from 0 in order of display: HWC uint8 RGB, upright.

    Interlaced pictures come as they are. Only what lies between a key picture and the last picture is decoded, on one
    thread. Raises SourceError that names the file where it is no clip, has fewer pictures or is damaged there."""
    if start < 0 or count < 1 or step < 1:
        raise ValueError(f"no pictures: start {start}, count {count}, step {step}")
    where = os.fspath(path)
    last = start + (count - 1) * step
    moments = _moments(where)
    if last >= moments.count:
        raise SourceError(f"has {moments.count} pictures, not {last + 1}", where=where, remedy="Choose earlier ones.")
    if moments.pts:
        wanted = moments.pts[start : last + 1 : step]
        pictures = _sought(where, wanted, moments.keys)
        if len(pictures) < count:  # some containers do not lead to the key picture that was named
            pictures = _sought(where, wanted, ())
    else:
        pictures = _counted(where, start, last + 1, step)
    if len(pictures) < count:
        raise SourceError(
            f"pictures {start} to {last} cannot be decoded", where=where, remedy="The file is damaged: get it again."
        )
    if len({picture.shape for picture in pictures}) > 1:
        raise SourceError("its pictures change their size", where=where, remedy="Choose others.")
    return pictures


def upright(picture: Picture, orientation: Orientation) -> Picture:
    turned = picture[:, ::-1] if orientation.mirrored else picture
    return np.ascontiguousarray(np.rot90(turned, -orientation.clockwise // 90))


@dataclass(frozen=True, slots=True)
class Moments:
    """When the pictures of a clip are shown and where decoding may begin, rising, in ticks; both empty where the file
    does not tell reliably, and only the count is known."""

    pts: tuple[int, ...]
    keys: tuple[int, ...]
    counted: int = 0

    @property
    def count(self) -> int:
        return len(self.pts) or self.counted


class _Converter:
    """Pictures of one stream to RGB. `matrix`: H.273; swscale's numbers are the same where it matters."""

    def __init__(self, matrix: int, full_range: bool) -> None:
        self._matrix, self._levels = matrix, color.RANGE_FULL if full_range else color.RANGE_LIMITED
        self._scaler = VideoReformatter()

    def rgb(self, frame: av.VideoFrame) -> Picture:
        """HWC uint8, a new array; what is transparent shows BEHIND."""
        height, width = frame.height, frame.width
        frame = evened(frame)
        shows_through = has_alpha(frame.format) or frame.format.has_palette
        # swscale cuts the low bits off instead of rounding, so that deep pictures would come out darker.
        is_deep = max(part.bits for part in frame.format.components) > 8
        converted: Any = self._scaler.reformat(
            frame,
            format=("rgba" if shows_through else "rgb24")
            if not is_deep
            else "rgba64le"
            if shows_through
            else "rgb48le",
            interpolation=_SCALER,
            src_colorspace=self._matrix,
            dst_colorspace=self._matrix,
            src_color_range=color.RANGE_FULL if frame.format.is_rgb else self._levels,
            dst_color_range=color.RANGE_FULL,
            threads=1,
        )
        pixels = converted.to_ndarray()[:height, :width]
        if is_deep:
            pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        if not shows_through:
            return cast(Picture, pixels.copy())
        alpha = pixels[..., 3:].astype(np.uint16)
        return cast(Picture, ((pixels[..., :3] * alpha + BEHIND * (255 - alpha) + 127) // 255).astype(np.uint8))


@contextmanager
def _opened(where: str) -> Iterator[tuple[Any, Any]]:
    """Container and video track, closed at the end; FFmpeg's errors in our words."""
    check_file(where)
    try:
        with av.open(where, timeout=READ_TIMEOUT_S) as container:
            stream = probe.choose_stream(container, where)
            probe.check_size(stream.width, stream.height, where)
            only(container, stream)
            yield container, stream
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(
            f"cannot be read: {plain(error)}", where=where, remedy="It is damaged or no picture or clip."
        ) from error


@lru_cache(maxsize=1024)
def _cached_moments(where: str, _size: int, _changed: int) -> Moments:
    index = index_frames(where, SourceConfig())
    pts, keys = sorted(index.pts.tolist()), sorted(index.pts[index.is_safe].tolist())
    if not index.trouble and keys and keys[0] <= pts[0]:
        return Moments(tuple(pts), tuple(keys))
    with _opened(where) as (container, stream):
        return Moments((), (), sum(1 for _ in _decoded(container, stream)))


def _moments(where: str) -> Moments:
    check_file(where)
    status = os.stat(where)
    moments = _cached_moments(where, status.st_size, status.st_mtime_ns)
    if not moments.count:
        raise SourceError("no picture can be decoded", where=where, remedy="The file is damaged: get it again.")
    return moments


def _sought(where: str, wanted: tuple[int, ...], keys: tuple[int, ...]) -> list[Picture]:
    """The pictures at these times, or fewer where they do not come. `keys`: where decoding may begin; () for the
    beginning of the file."""
    before = [key for key in keys if key <= wanted[0]]
    pictures: list[Picture] = []
    with _opened(where) as (container, stream):
        if before:
            container.seek(before[-1], stream=stream, backward=True)
        for frame in _decoded(container, stream):
            if frame.pts is None or frame.pts > wanted[len(pictures)]:
                break
            if frame.pts == wanted[len(pictures)]:
                pictures.append(_shown(frame, stream, where))
                if len(pictures) == len(wanted):
                    break
    return pictures


def _counted(where: str, start: int, stop: int, step: int) -> list[Picture]:
    """The pictures with these numbers, decoded from the very beginning."""
    with _opened(where) as (container, stream):
        return [_shown(frame, stream, where) for frame in islice(_decoded(container, stream), start, stop, step)]


def _decoded(container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    stream.thread_type = "NONE"
    return decoded(container, stream, Damage())


def _shown(frame: av.VideoFrame, stream: Any, where: str) -> Picture:
    context = stream.codec_context
    orientation = probe.orientation_of(frame, context.name)
    size = (frame.height, frame.width) if orientation.swaps_sides else (frame.width, frame.height)
    is_rgb = frame.format.is_rgb
    tags = color.source_tags(
        frame, context, codec=context.name, is_rgb=is_rgb, upright_size=size, chroma_location=color.CHROMA_LEFT
    )
    probe.check_size(frame.width, frame.height, where)
    return upright(_Converter(tags.matrix or MATRIX_SMPTE170M, tags.full_range).rgb(frame), orientation)


def _unreadable(where: str, damage: Damage) -> SourceError:
    says = f": {damage.first_error}" if damage.first_error else ""
    return SourceError(f"the picture cannot be decoded{says}", where=where, remedy="It is damaged: get it again.")


def _is_cut(jpeg: str) -> bool:
    """Whether the last scan of a JPEG has no end mark: FFmpeg shows the rest of such a picture gray, without a word."""
    data = Path(jpeg).read_bytes()
    return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
