"""Timestamps of decoded pictures: kept to the tick, and repaired where a file has none or has them out of order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import av

from streamsr.media.damage import Damage

RESTART_S = Fraction(1, 2)
"""A timestamp this far behind its predecessor is no mere disorder: either that one was wrong or the clock restarted."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A decoded picture and when it is shown, in ticks of the source's time base."""

    picture: av.VideoFrame
    pts: int
    duration: int


def timed(
    pictures: Iterable[av.VideoFrame], time_base: Fraction, rate: Fraction | None, damage: Damage
) -> Iterator[Timed]:
    """Pictures in decoding-output order with strictly growing pts, each lasting until the next.

    Two neighbours with exchanged stamps are put right; a single stamp far ahead of both neighbours is moved between
    them; after a clock that restarts, time goes on without a gap; what else does not grow is moved one tick behind its
    predecessor. All of these are counted in `damage`. Holds two pictures back. The last one lasts as long as it says,
    else as long as the one before."""
    step = round(1 / (rate * time_base)) if rate else 0
    waiting: deque[Timed] = deque()
    last, shift = None, 0
    for picture in pictures:
        newest = waiting[-1].pts if waiting else last
        pts = _stamp(picture, newest, step, shift, damage)
        if newest is not None and (newest - pts) * time_base > RESTART_S:
            damage.disordered_stamps += 1
            before = waiting[-2].pts if len(waiting) > 1 else last
            if waiting and before is not None and pts > before + 1:
                waiting[-1] = replace(waiting[-1], pts=(before + pts) // 2)
            else:
                shift += newest + max(1, step) - pts
                pts = newest + max(1, step)
        waiting.append(Timed(picture, pts, max(0, picture.duration or 0)))
        if len(waiting) > 2:
            out = _next(waiting, last, damage)
            last = out.pts
            yield out
    while waiting:
        out = _next(waiting, last, damage, step)
        last = out.pts
        yield out


def _stamp(picture: av.VideoFrame, newest: int | None, step: int, shift: int, damage: Damage) -> int:
    """The picture's own pts, else its dts, else where the sequence goes on."""
    if picture.pts is not None:
        return picture.pts + shift
    if picture.dts is not None and (newest is None or picture.dts + shift > newest):
        damage.missing_stamps += newest is not None
        return picture.dts + shift
    damage.missing_stamps += newest is not None
    return 0 if newest is None else newest + max(1, step)


def _next(waiting: deque[Timed], last: int | None, damage: Damage, step: int = 0) -> Timed:
    """Takes the first of up to three waiting pictures, after putting it behind `last` and before the next."""
    first = waiting.popleft()
    if waiting and waiting[0].pts < first.pts and (last is None or waiting[0].pts > last):
        damage.disordered_stamps += 1
        waiting[0], first = replace(waiting[0], pts=first.pts), replace(first, pts=waiting[0].pts)
    if last is not None and first.pts <= last:
        damage.disordered_stamps += 1
        first = replace(first, pts=last + 1)
    if waiting:
        following = max(first.pts + 1, waiting[0].pts)
        if len(waiting) > 1 and first.pts < waiting[1].pts < following:
            following = waiting[1].pts
        return replace(first, duration=following - first.pts)
    previous = first.pts - last if last is not None else 0
    said = first.duration if 2 * first.duration >= previous else 0  # files with absurd rates say 1 ms
    return replace(first, duration=said or previous or step)
