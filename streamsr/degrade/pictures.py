"""Single pictures as tensors: read with OpenCV (or FFmpeg where OpenCV cannot), written without loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from cv2.utils import logging
from numpy.typing import NDArray
from torch import Tensor

from streamsr.errors import ConfigError, SourceError, as_sink_error
from streamsr.media.target import TargetFile

_SUFFIXES = ".avif .bmp .heic .heif .jfif .jp2 .jpeg .jpg .jxl .pgm .png .ppm .tif .tiff .webp"
PICTURE_SUFFIXES = frozenset(_SUFFIXES.split())
LOSSLESS_SUFFIXES = (".png", ".webp", ".tif", ".tiff", ".bmp")
_BEHIND = 208
"""Light gray, of 255, shows through where a picture is transparent."""


def read_picture(path: Path) -> Tensor:
    """3HW float32 RGB 0..1, upright, of 8 or 16 bit; gray becomes RGB, transparent parts light gray.

    Raises SourceError for what is missing, broken, cut short, or no picture."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise SourceError(f"cannot read: {error.strerror}", where=str(path)) from error
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # OpenCV would write several lines where ours is one
    try:
        picture = _decoded(data)
    except cv2.error:
        picture = None
    finally:
        logging.setLogLevel(level)
    if picture is None:
        from streamsr.media.stills import read_picture as read_by_ffmpeg

        picture = read_by_ffmpeg(path)
    if picture.dtype not in (np.uint8, np.uint16):
        raise SourceError(f"samples of {picture.dtype} are not read", where=str(path), remedy="Use 8 or 16 bit.")
    peak = float(np.iinfo(picture.dtype).max)
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)).astype(np.float32) / peak)


def _decoded(data: NDArray[np.uint8]) -> NDArray[Any] | None:
    """HWC RGB of the file's own depth, or None where OpenCV cannot."""
    if not data.size:
        return None
    picture: NDArray[Any] | None = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if picture is None:
        return None
    if picture.ndim == 3 and picture.shape[2] == 4 and picture.dtype != np.float32:
        peak = np.iinfo(picture.dtype).max
        alpha = picture[..., 3:] / np.float32(peak)
        mixed = picture[..., :3] * alpha + _BEHIND / 255 * peak * (1 - alpha)
        return np.asarray(mixed.round()[..., ::-1], picture.dtype)
    # Decoded again: only the color flag turns the picture upright and makes gray RGB.
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    return None if picture is None else np.asarray(picture[..., ::-1])


def check_suffix(path: Path) -> None:
    """Raises ConfigError for a type of file that pictures are not written in."""
    if path.suffix.lower() not in LOSSLESS_SUFFIXES:
        lossy = path.suffix.lower() in (".jpg", ".jpeg")
        raise ConfigError(
            "JPEG would degrade the picture once more" if lossy else f"{path.suffix or 'no suffix'} is not a picture",
            where=str(path),
            remedy=f"Write {path.with_suffix('.png').name}.",
        )


def write_picture(path: Path, rgb_HW3: NDArray[np.uint8], source: Path, *, overwrite: bool) -> None:
    """Without loss, as a whole or not at all. `source` is what it was made of, and is never replaced.

    Raises ConfigError, SinkError."""
    check_suffix(path)
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if path.suffix.lower() == ".webp" else []  # above 100: lossless
    target = TargetFile(path, str(source), overwrite)
    try:
        _, data = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(rgb_HW3[..., ::-1]), options)
        target.part.write_bytes(data.tobytes())
        target.commit()
    except OSError as error:
        raise as_sink_error(error, path) from error
    finally:
        target.discard()


def to_rgb(x_3HW: Tensor) -> NDArray[np.uint8]:
    """HW3 uint8 of a picture 0..1 on any device; what is outside the range is clamped."""
    values = (x_3HW.detach() * 255).round().clamp(0, 255).permute(1, 2, 0)
    return np.ascontiguousarray(values.cpu().numpy().astype(np.uint8))


def to_tensor(rgb_HW3: NDArray[np.uint8]) -> Tensor:
    """3HW float32 0..1 of an 8-bit picture."""
    return torch.from_numpy(np.ascontiguousarray(rgb_HW3.transpose(2, 0, 1)).astype(np.float32) / 255)
