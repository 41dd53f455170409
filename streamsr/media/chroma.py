"""RGB pictures as limited-range YUV of 8 bit and back, as video coders see them: BT.709 weights, by swscale, chroma
samples in the middle of their pixels both ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from streamsr.frames import Subsampling
from streamsr.media.color import RANGE_FULL, RANGE_LIMITED

Picture = npt.NDArray[np.uint8]
"""HWC, R G B, 0..255."""
Scaling = Literal["bicubic", "bilinear", "nearest"]

SWSCALE_BT709 = 1
_EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
_SCALERS = {
    "bicubic": Interpolation.BICUBIC,
    "bilinear": Interpolation.BILINEAR,
    "nearest": Interpolation.POINT,
}


class ChromaPath:
    """Both directions for pictures of one size. `up` is how the small chroma planes are enlarged on the way back:
    players differ, down it is always bicubic. Not thread-safe."""

    def __init__(self, chroma: Subsampling, up: Scaling = "bicubic") -> None:
        self.pix_fmt = f"yuv{chroma}p"
        self._up = int(_EXACT | _SCALERS[up])
        self._to_yuv, self._to_rgb = VideoReformatter(), VideoReformatter()  # they keep their tables

    def yuv(self, picture: Picture) -> av.VideoFrame:
        return self._to_yuv.reformat(
            av.VideoFrame.from_ndarray(picture, "rgb24"),
            format=self.pix_fmt,
            interpolation=int(_EXACT | Interpolation.BICUBIC),
            src_colorspace=SWSCALE_BT709,
            dst_colorspace=SWSCALE_BT709,
            src_color_range=RANGE_FULL,
            dst_color_range=RANGE_LIMITED,
            threads=1,
        )

    def rgb(self, frame: av.VideoFrame) -> Picture:
        """A new array. `frame`: of this path's pixel format, whatever its tags say."""
        # Decoders of H.264, HEVC and MPEG mark chroma as sitting left, which swscale heeds here but cannot be told on
        # the way there: colour would move by half a pixel. A picture made of the bare planes has no mark.
        bare = av.VideoFrame.from_ndarray(frame.to_ndarray(), self.pix_fmt)
        converted: Any = self._to_rgb.reformat(
            bare,
            format="rgb24",
            interpolation=self._up,
            src_colorspace=SWSCALE_BT709,
            dst_colorspace=SWSCALE_BT709,
            src_color_range=RANGE_LIMITED,
            dst_color_range=RANGE_FULL,
            threads=1,
        )
        return cast(Picture, converted.to_ndarray().copy())


def through_chroma(frames: Sequence[Picture], chroma: Subsampling, up: Scaling = "bicubic") -> list[Picture]:
    """The pictures after one way to YUV with this subsampling and back, without a codec. All of one size."""
    path = ChromaPath(chroma, up)
    return [unpadded(path.rgb(path.yuv(padded(frame))), frame.shape) for frame in frames]


def padded(frame: Picture, least: int = 2) -> Picture:
    """Even in both directions and at least `least` a side: its last row and column repeated."""
    height, width = frame.shape[:2]
    rows, columns = max(height + height % 2, least), max(width + width % 2, least)
    if (rows, columns) == (height, width):
        return np.ascontiguousarray(frame)
    return np.pad(frame, ((0, rows - height), (0, columns - width), (0, 0)), mode="edge")


def unpadded(frame: Picture, shape: tuple[int, ...]) -> Picture:
    return np.ascontiguousarray(frame[: shape[0], : shape[1]])
