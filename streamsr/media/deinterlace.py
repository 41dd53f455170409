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

    def __init__(self, like: av.VideoFrame) -> None:
        self._shape = shape_of(like)
        self._waiting: deque[tuple[Timed, bool]] = deque()
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
        # Not deint="interlaced": then the first picture that is, wherever that falls, is filtered without neighbours.
        bwdif = graph.add("bwdif", mode="send_frame", parity="auto", deint="all")
        graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()

    def fits(self, picture: av.VideoFrame) -> bool:
        return shape_of(picture) == self._shape

    def push(self, timed: Timed, *, keep: bool) -> Iterator[Timed]:
        """Pictures that are finished, in order. `keep`: this one is only a neighbour and comes out as it is. The filter
        counts pictures; their own times wait here."""
        self._waiting.append((timed, keep))
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
            timed, keep = self._waiting.popleft()
            yield timed if keep else replace(timed, picture=picture)


def shape_of(picture: Any) -> tuple[object, ...]:
    return picture.width, picture.height, picture.format.name, picture.colorspace, picture.color_range


def deinterlaced(pictures: Iterable[Timed], *, everything: bool) -> Iterator[Timed]:
    """Interlaced pictures (with `everything`, all) are filtered, the others stay the same objects.

    Every result depends on its picture and the two neighbours only, so that it does not matter where in a film one
    begins: each run of interlaced pictures has a filter of its own, which is shown the picture before and the one
    after it. Holds one picture back."""
    filter_: Deinterlacer | None = None
    before: Timed | None = None
    is_after = False
    for timed in pictures:
        plain = not everything and not timed.picture.interlaced_frame
        if filter_ is not None and (not filter_.fits(timed.picture) or (is_after and plain)):
            yield from filter_.flush()
            filter_ = None
        if filter_ is None and not plain:
            filter_ = Deinterlacer(timed.picture)
            if before is not None and filter_.fits(before.picture):
                yield from filter_.push(before, keep=True)
                before = None
        if before is not None:
            yield before
        before = timed if filter_ is None else None
        if filter_ is not None:
            yield from filter_.push(timed, keep=plain)
        is_after = plain
    if before is not None:
        yield before
    if filter_ is not None:
        yield from filter_.flush()
