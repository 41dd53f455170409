"""Pictures of any pixel format as the three planes of a `PixelLayout`.

A format that has these planes already is not touched: the planes are views into the decoder's memory. Everything else
is converted once by swscale, without losing chroma samples or depth up to 12 bit, and without a change of matrix or
range."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from streamsr.frames import MATRIX_BT709, PixelLayout, Subsampling
from streamsr.media.color import RANGE_FULL, RANGE_LIMITED

SCALER = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
XYZ = ("xyz12le", "xyz12be")


def layout_of(pixel_format: av.VideoFormat) -> PixelLayout:
    """The smallest layout that holds every sample of a pixel format, of depth 8, 10 or 12."""
    depth = max((part.bits for part in pixel_format.components if not part.is_alpha), default=8)
    depth = 8 if depth <= 8 else 10 if depth <= 10 else 12
    if pixel_format.is_rgb or pixel_format.has_palette or pixel_format.name in XYZ:
        return PixelLayout("444", depth, is_rgb=True)
    if is_gray(pixel_format):
        return PixelLayout("420", depth)
    narrow = pixel_format.chroma_width(64) < 64
    low = pixel_format.chroma_height(64) < 64
    subsampling: Subsampling = "444" if not narrow else "420" if low else "422"
    return PixelLayout(subsampling, depth)


def has_alpha(pixel_format: av.VideoFormat) -> bool:
    return any(part.is_alpha for part in pixel_format.components)


def is_gray(pixel_format: av.VideoFormat) -> bool:
    return not (pixel_format.is_rgb or pixel_format.has_palette or pixel_format.name in XYZ) and (
        sum(not part.is_alpha for part in pixel_format.components) == 1
    )


def has_planes_of(pixel_format: str, layout: PixelLayout) -> bool:
    """Whether a picture's first planes are the layout's; a gray picture has one, which goes with any YUV layout."""
    names = {layout.pix_fmt, layout.pix_fmt.replace("gbr", "gbra") if layout.is_rgb else ""}
    if not layout.is_rgb:
        names |= {layout.pix_fmt.replace("yuv", "yuva"), _gray(layout)}
        if layout.depth == 8:
            names.add(layout.pix_fmt.replace("yuv", "yuvj"))
    return pixel_format in names


class LayoutConverter:
    """Brings pictures into a format that has the planes of one layout. Not thread-safe."""

    def __init__(self, layout: PixelLayout, matrix: int) -> None:
        """`matrix` (H.273) is used where a stream changes between YUV and RGB in mid-stream, nowhere else."""
        self._layout, self._matrix = layout, matrix or MATRIX_BT709
        self._scaler = VideoReformatter()  # keeps its tables from picture to picture; `frame.reformat` does not

    def convert(self, frame: av.VideoFrame, *, full_range: bool) -> av.VideoFrame:
        """The same object where it has the planes already. `full_range`: how the samples of YUV are to be read."""
        layout = self._layout
        if has_planes_of(frame.format.name, layout):
            return frame
        keeps_gray = is_gray(frame.format) and not layout.is_rgb
        levels = RANGE_FULL if full_range else RANGE_LIMITED
        converted: av.VideoFrame = self._scaler.reformat(
            frame,
            format=_gray(layout) if keeps_gray else layout.pix_fmt,
            interpolation=int(SCALER),
            src_colorspace=self._matrix,
            dst_colorspace=self._matrix,
            src_color_range=RANGE_FULL if frame.format.is_rgb else levels,
            dst_color_range=RANGE_FULL if layout.is_rgb else levels,
            threads=1,
        )
        return converted


def planes_of(frame: av.VideoFrame, layout: PixelLayout) -> tuple[np.ndarray, ...]:
    """Read-only views of a picture that `has_planes_of(layout)`; they keep the picture's memory alive.

    Rows of a picture stored upside down are copied: not everybody reads negative strides. Gray gets flat chroma."""
    shapes = layout.plane_shapes(frame.width, frame.height)
    planes: list[np.ndarray[Any, Any]] = []
    gray = is_gray(frame.format)
    for index, (rows, columns) in enumerate(shapes):
        if gray and index:
            view = np.broadcast_to(np.array(1 << (layout.depth - 1), layout.dtype), (rows, columns)).copy()
        else:
            plane: Any = frame.planes[index]  # a buffer, which its stub does not say
            stride = abs(plane.line_size) // layout.dtype.itemsize
            view = np.frombuffer(plane, layout.dtype).reshape(-1, stride)[:rows, :columns]
            if plane.line_size < 0:
                view = np.ascontiguousarray(view[::-1])
        view.flags.writeable = False
        planes.append(view)
    return tuple(planes)


def _gray(layout: PixelLayout) -> str:
    return "gray" if layout.depth == 8 else f"gray{layout.depth}le"
