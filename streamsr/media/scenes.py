"""Where scenes begin, found by PySceneDetect on small gray pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streamsr.config import SourceConfig
from streamsr.errors import ConfigError
from streamsr.frames import Frame
from streamsr.media.source import open_source

MAX_WIDTH = 160
"""Pictures are reduced to this width before they are compared."""


def find_cuts(path: str | Path, cfg: SourceConfig) -> Iterator[int]:
    """The pts of the first picture of each scene but the first, in the file's own ticks and in order, of the range
    that `cfg` asks for. Decodes all of it; the luma (of RGB: the green) is compared, by PySceneDetect's
    AdaptiveDetector with its own defaults.

    Raises SourceError as `open_source` does, ConfigError where PySceneDetect is not installed."""
    detectors, timecode = _library()
    detector = detectors.AdaptiveDetector(luma_only=True)
    times: list[int] = []
    with open_source(path, cfg.model_copy(update={"deinterlace": False})) as source:
        shift = round(source.origin / source.info.time_base)
        rate = source.info.rate or 25  # PySceneDetect wants one, though pictures are only counted
        size = min(MAX_WIDTH, source.info.width), _small_height(source.info.width, source.info.height)
        for frame in source.frames():
            times.append(frame.stamp.pts + shift)
            now = timecode(frame.stamp.index, fps=rate)
            for cut in detector.process_frame(now, _small(frame, size)):
                yield times[cut.frame_num]


def _library() -> tuple[Any, Any]:
    try:
        from scenedetect import FrameTimecode, detectors
    except ImportError as error:
        raise ConfigError(
            "PySceneDetect is not installed, which finds scenes",
            remedy="Run pip install 'streamsr[scenes]', or do not ask for scenes.",
        ) from error
    return detectors, FrameTimecode


def _small_height(width: int, height: int) -> int:
    return height if width <= MAX_WIDTH else max(2, round(height * MAX_WIDTH / width))


def _small(frame: Frame, size: tuple[int, int]) -> np.ndarray:
    """8-bit BGR of one size, all channels alike."""
    luma = cv2.resize(np.ascontiguousarray(frame.planes[0]), size, interpolation=cv2.INTER_AREA)
    gray = (luma / (1 << (frame.layout.depth - 8))).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)
