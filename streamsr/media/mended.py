"""Small repairs of a decoded picture before it is turned into RGB, by FFmpeg's filters, which keep what it says of
itself."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.filter import Graph

EXIF = 31
"""FFmpeg's AV_FRAME_DATA_EXIF."""


def without_exif(frame: av.VideoFrame) -> av.VideoFrame:
    """The turn that EXIF asks for is in the display matrix as well; but PyAV 18 reads no side data at all of a picture
    that has some of a kind it does not know."""
    return _filtered(frame, "sidedata", mode="delete", type=str(EXIF))


def evened(frame: av.VideoFrame) -> av.VideoFrame:
    """A picture with subsampled chroma and an odd side: its last column and row repeated. Others as they are.

    swscale would stretch the chroma of an odd side over it instead of doubling it: by a pixel at the far end."""
    layout = frame.format
    halves = layout.chroma_width(4) < 4, layout.chroma_height(4) < 4
    is_planar = len(frame.planes) == len(layout.components) > 1
    if not is_planar or not ((halves[0] and frame.width % 2) or (halves[1] and frame.height % 2)):
        return frame
    even = _filtered(frame, "pad", width="ceil(iw/2)*2", height="ceil(ih/2)*2")
    kind = np.dtype(np.uint8 if layout.components[0].bits <= 8 else np.uint16)
    planes: Any = zip(frame.planes, even.planes, strict=True)
    for old, new in planes:
        source, target = _samples(old, kind), _samples(new, kind)
        rows, columns = source.shape
        target[:rows, :columns] = source  # pad has drawn over the chroma of the last column
        target[rows:] = target[rows - 1]
        target[:, columns:] = target[:, columns - 1 : columns]
    return even


def _samples(plane: Any, kind: np.dtype[Any]) -> np.ndarray:
    """A view of a plane; of one that is stored upside down, a copy."""
    flat = np.frombuffer(plane, kind).reshape(-1, abs(plane.line_size) // kind.itemsize)
    upright = flat if plane.line_size > 0 else flat[::-1]
    return upright[: plane.height, : plane.width]


def _filtered(frame: av.VideoFrame, name: str, **options: str) -> av.VideoFrame:
    graph = Graph()
    graph.threads = 1
    source = graph.add(
        "buffer",
        video_size=f"{frame.width}x{frame.height}",
        pix_fmt=frame.format.name,
        time_base=str(Fraction(1, 25)),
        colorspace=str(int(frame.colorspace)),
        range=str(int(frame.color_range)),
    )
    graph.link_nodes(source, graph.add(name, **options), graph.add("buffersink")).configure()
    graph.push(frame)
    pulled = graph.pull()
    assert isinstance(pulled, av.VideoFrame)
    return pulled
