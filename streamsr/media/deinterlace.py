"""Interlaced pictures made progressive by FFmpeg's bwdif: one picture in, one picture out, times untouched."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
from av.filter import Graph

from streamsr.media.stamps import Timed

FIELD_ORDERS = {2: "top field first", 3: "bottom field first", 4: "top field first", 5: "bottom field first"}
"""FFmpeg's AVFieldOrder TT, BB, TB, BT. The second letter says which field is displayed first."""


class Deinterlacer:
    """A filter graph for pictures of one size and format. Holds one picture back until the next comes."""

    def __init__(self, like: av.VideoFrame, *, everything: bool) -> None:
        """`everything` treats pictures that are not marked as interlaced too."""
        self._shape = shape_of(like)
        self._waiting: deque[Timed] = deque()
        self._pushed = 0
        self._graph = graph = Graph()
        graph.threads = 1
        source = graph.add(
            "buffer",
            video_size=f"{like.width}x{like.height}",
            pix_fmt=like.format.name,
            time_base="1/1",
            colorspace=str(int(like.colorspace)),
            range=str(int(like.color_range)),
        )
        deint = "all" if everything else "interlaced"
        bwdif = graph.add("bwdif", mode="send_frame", parity="auto", deint=deint)
        graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()

    def fits(self, picture: av.VideoFrame) -> bool:
        return shape_of(picture) == self._shape

    def push(self, timed: Timed) -> Iterator[Timed]:
        """Pictures that are finished, in order. The filter counts pictures; their own times wait here."""
        self._waiting.append(timed)
        self._pushed += 1
        timed.picture.pts, timed.picture.time_base = self._pushed, Fraction(1)
        self._graph.vpush(timed.picture)
        yield from self._pull()

    def flush(self) -> Iterator[Timed]:
        """The pictures still held back. The object cannot be used afterwards."""
        self._graph.vpush(None)
        yield from self._pull()
        if self._waiting:
            raise RuntimeError(f"bwdif kept {len(self._waiting)} pictures")

    def _pull(self) -> Iterator[Timed]:
        while True:
            try:
                picture = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield replace(self._waiting.popleft(), picture=picture)


def shape_of(picture: Any) -> tuple[object, ...]:
    return picture.width, picture.height, picture.format.name, picture.colorspace, picture.color_range


def deinterlaced(pictures: Iterable[Timed], *, everything: bool) -> Iterator[Timed]:
    """From the first interlaced picture on (with `everything`, from the first), all pictures pass the filter."""
    filter_: Deinterlacer | None = None
    for timed in pictures:
        if filter_ is not None and not filter_.fits(timed.picture):
            yield from filter_.flush()
            filter_ = None
        if filter_ is None and (everything or timed.picture.interlaced_frame):
            filter_ = Deinterlacer(timed.picture, everything=everything)
        if filter_ is None:
            yield timed
        else:
            yield from filter_.push(timed)
    if filter_ is not None:
        yield from filter_.flush()
