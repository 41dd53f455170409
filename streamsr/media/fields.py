"""Two fields to a picture and back: woven from neighbouring pictures, deinterlaced by FFmpeg's filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import av
import numpy as np
from av.filter import Graph

from streamsr.errors import FrameMismatch
from streamsr.media.chroma import Picture

Deinterlacing = Literal["bwdif", "yadif", "lines"]
"""lines: every second row of the other field is made of its two neighbours, without a look at other pictures."""
LEAST_ROWS, LEAST_COLUMNS = 8, 4
"""bwdif refuses smaller pictures."""


def woven(frames: Sequence[Picture], *, top_first: bool) -> list[Picture]:
    """Each picture's own field, and the other field of the picture after it: what a camera for interlaced video gives
    half a picture later. The last picture is woven with itself. HWC, all of one size; new arrays."""
    result = []
    for frame, after in zip(frames, [*frames[1:], frames[-1]], strict=True):
        picture = after.copy()
        own = 0 if top_first else 1
        picture[own::2] = frame[own::2]
        result.append(picture)
    return result


def deinterlaced(frames: Sequence[Picture], how: Deinterlacing, *, top_first: bool) -> list[Picture]:
    """As many pictures, each with the rows of its first field kept and the others made anew.

    Pictures smaller than LEAST_ROWS x LEAST_COLUMNS always go the way of "lines". Raises FrameMismatch if the filter
    lost pictures."""
    height, width = frames[0].shape[:2]
    if how == "lines" or height < LEAST_ROWS or width < LEAST_COLUMNS:
        return [_lines_doubled(frame, 0 if top_first else 1) for frame in frames]
    graph = Graph()
    graph.threads = 1
    source = graph.add("buffer", video_size=f"{width}x{height}", pix_fmt="gbrp", time_base="1/25")
    filtering = graph.add(how, mode="send_frame", parity="tff" if top_first else "bff", deint="all")
    graph.link_nodes(source, filtering, graph.add("buffersink")).configure()
    result: list[Picture] = []
    for number, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(frame, "gbrp")
        picture.pts = number
        graph.push(picture)
        result += _pulled(graph)
    graph.push(None)
    result += _pulled(graph)
    if len(result) != len(frames):
        raise FrameMismatch(f"{how} gave {len(result)} pictures for {len(frames)}", stage="deinterlace")
    return result


def _pulled(graph: Any) -> list[Picture]:
    pictures = []
    while True:
        try:
            pictures.append(np.ascontiguousarray(graph.pull().to_ndarray()))
        except (av.BlockingIOError, av.EOFError):
            return pictures


def _lines_doubled(frame: Picture, own: int) -> Picture:
    """Rows own, own + 2, ... stay; each other row becomes the mean of those above and below it."""
    kept = frame[own::2].astype(np.uint16)
    if not len(kept):
        return frame.copy()
    picture = frame.copy()
    other = picture[1 - own :: 2]
    rows = np.arange(len(other))
    above, below = (rows, rows + 1) if own == 0 else (rows - 1, rows)
    last = len(kept) - 1
    picture[1 - own :: 2] = (kept[above.clip(0, last)] + kept[below.clip(0, last)] + 1) // 2
    return picture
