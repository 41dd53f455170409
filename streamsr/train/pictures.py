"""Pictures into memory: read, made 8-bit RGB, reduced, and kept as long as a limit of bytes allows."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from streamsr.errors import SourceError

Picture = npt.NDArray[np.uint8]
"""HWC, RGB, 0..255."""
Frames = npt.NDArray[np.uint8]
"""THWC, RGB, 0..255."""

LOSSLESS = frozenset((".png", ".tif", ".tiff", ".bmp"))
BY_OPENCV = LOSSLESS | {".jpg", ".jpeg", ".webp"}
PICTURE_SUFFIXES = BY_OPENCV | {".avif"}
BEHIND = 208
"""The light grey that is seen through what is transparent."""


def read_still(path: Path) -> Picture:
    """The picture in 8 bit; 16-bit values are rounded, transparency shows BEHIND.

    Raises SourceError where the file is missing, truncated or no picture."""
    if path.suffix.lower() not in BY_OPENCV:
        from streamsr.media.stills import read_picture  # the seldom one: FFmpeg is loaded only where OpenCV cannot read

        return np.asarray(read_picture(path), dtype=np.uint8)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError("cannot read the picture", where=str(path), remedy=error.strerror or "") from error
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error as error:
        raise SourceError(f"not a picture: {error.err}", where=str(path)) from error
    if values is None or not is_whole(data):
        raise SourceError("the picture is damaged or truncated", where=str(path), remedy="Replace or remove the file.")
    return _rgb8(np.asarray(values))


def is_whole(data: bytes) -> bool:
    """OpenCV fills what a truncated JPEG or PNG lacks with grey; both formats mark their end."""
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    return not data.startswith(b"\x89PNG") or b"IEND" in data


def _rgb8(values: npt.NDArray[np.generic]) -> Picture:
    """OpenCV's order and depth -> HWC RGB, 8 bit."""
    if values.dtype == np.uint16:
        values = ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if values.ndim == 2:
        return np.repeat(values[..., None], 3, axis=2).astype(np.uint8, copy=False)
    if values.shape[2] == 4:
        alpha = values[..., 3:].astype(np.uint16)
        values = ((values[..., :3].astype(np.uint16) * alpha + BEHIND * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(values[..., ::-1], dtype=np.uint8)


def shrink(picture: Picture, factor: float) -> Picture:
    """By area; a factor of 1 or more leaves the picture as it is."""
    if factor >= 1:
        return picture
    return resize_area(picture, round(picture.shape[0] * factor), round(picture.shape[1] * factor))


def resize_area(picture: Picture, height: int, width: int) -> Picture:
    size = (max(1, width), max(1, height))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def turned_picture(picture: Picture, turn: int, mirror: bool) -> Picture:
    """Mirrored left to right, then turned by quarters counter-clockwise. OpenCV: five times faster than numpy."""
    if mirror:
        picture = np.asarray(cv2.flip(picture, 1), dtype=np.uint8)
    return picture if turn == 0 else np.asarray(cv2.rotate(picture, 3 - turn), dtype=np.uint8)


class PictureCache:
    """The last pictures that were asked for, together at most `limit_bytes`; one that is larger alone is not kept."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.num_bytes = limit_bytes, 0
        self._kept: OrderedDict[object, Frames] = OrderedDict()

    def get(self, key: object, make: Callable[[], Frames]) -> Frames:
        """What `make` returned for this key the last time, or now. The array is read-only."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = make()
        made.flags.writeable = False
        if made.nbytes <= self.limit_bytes:
            self._kept[key] = made
            self.num_bytes += made.nbytes
            while self.num_bytes > self.limit_bytes:
                self.num_bytes -= self._kept.popitem(last=False)[1].nbytes
        return made
