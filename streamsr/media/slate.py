"""A slate: the last picture, darkened, with a line that says why nothing moves."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from streamsr.frames import PixelLayout

FONT = cv2.FONT_HERSHEY_SIMPLEX
DARK = 0.35
LARGEST, WIDEST = 0.09, 0.8
"""Of the text: height as a part of the picture's, width as a part of its width."""


def write_slate(planes: Sequence[np.ndarray], layout: PixelLayout, text: str) -> None:
    """Darkens the picture in `planes` and writes `text` into its middle, in place, for pictures of limited range.
    What is not ASCII becomes a question mark; line breaks become spaces. Does not touch chroma beyond greying it."""
    step = 1 << (layout.depth - 8)
    black, white, grey = 16 * step, 235 * step, 128 * step
    brightness = planes[:1] if not layout.is_rgb else planes
    for plane in brightness:
        plane[:] = black + (plane.astype(np.float32) - black).clip(0) * DARK
    if not layout.is_rgb:
        for plane in planes[1:]:
            plane[:] = grey + (plane.astype(np.float32) - grey) * DARK
    words = " ".join(text.split()).encode("ascii", "replace").decode("ascii")
    if not words:
        return
    height, width = planes[0].shape
    mask = _written(words, width, height)
    for plane in brightness:
        plane[:] = plane + (white - plane.astype(np.float32)) * mask


def _written(words: str, width: int, height: int) -> np.ndarray:
    """How much of each pixel (0..1) the text covers."""
    (unit_width, unit_height), _ = cv2.getTextSize(words, FONT, 1.0, 1)
    scale = min(LARGEST * height / unit_height, WIDEST * width / unit_width)
    thickness = max(1, round(scale * 1.6))
    (text_width, text_height), _ = cv2.getTextSize(words, FONT, scale, thickness)
    mask = np.zeros((height, width), np.uint8)
    origin = ((width - text_width) // 2, (height + text_height) // 2)
    cv2.putText(mask, words, origin, FONT, scale, 255, thickness, cv2.LINE_AA)
    return mask.astype(np.float32) / 255
