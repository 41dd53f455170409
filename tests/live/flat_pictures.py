"""Pictures of one colour, as a preview hands them to a browser's connection."""

from __future__ import annotations

import numpy as np

RED, BLUE = (255, 0, 0), (0, 0, 255)
RED_YUV = (81, 90, 240)
"""BT.601, limited range."""


def flat_planes(width: int, height: int, yuv: tuple[int, int, int]) -> tuple[np.ndarray, ...]:
    shapes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    return tuple(np.full(shape, level, np.uint8) for shape, level in zip(shapes, yuv, strict=True))


def flat_rgb(width: int, height: int, color: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)
