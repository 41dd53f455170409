"""How a film is cut into chunks: each with the pictures that are its own, and the key frame its decoding begins at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from streamsr.frames import FrameIndex, Window

LEAD = 2
"""Pictures decoded before the first of a chunk: its deinterlacing needs one, and the last picture of a film lasts as
long as the one before it."""
MAX_PIECES = 8
"""A stretch in which decoding cannot begin is cut into at most so many chunks: all of them decode it from its start,
the eight together four and a half times."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """`frames`: pictures by the index. What is decoded decides: a file may hold pictures that no decoder gives."""

    index: int
    window: Window
    frames: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Chunks in order, without gap or overlap: together the whole film. `time_base`: of the windows' ticks. `notes`:
    one line each, for a person."""

    chunks: tuple[Chunk, ...]
    time_base: Fraction
    notes: tuple[str, ...] = ()


def plan_chunks(
    index: FrameIndex,
    seconds: float,
    start_pts: int | None = None,
    end_pts: int | None = None,
    cuts: Sequence[int] = (),
) -> Plan:
    """Chunks of about `seconds`, for the pictures with start_pts <= pts < end_pts (ticks; None: an open end).

    A chunk starts at the safe key frame nearest to a multiple of `seconds`, or, where a scene begins near it (`cuts`:
    pts of first pictures), there: a cut need be no key frame, decoding then begins before it. None is shorter than
    half of `seconds`, unless there is only one. The first window has no start and the last no end, so that every
    picture is in exactly one, whatever a decoder makes of the file. There is always a chunk.

    Decoding begins at a safe key frame at least LEAD pictures before the chunk, else with the film (seek_pts None). A
    stretch of more than two lengths without safe key frames is cut anywhere, into at most MAX_PIECES."""
    if seconds <= 0:
        raise ValueError(f"chunks of {seconds} s")
    shown = np.sort(index.pts)
    low = 0 if start_pts is None else int(np.searchsorted(shown, start_pts))
    high = len(shown) if end_pts is None else int(np.searchsorted(shown, end_pts))
    shown = shown[low : max(low, high)]
    if not len(shown):
        return Plan((Chunk(0, Window(), 0),), index.time_base, _notes(index, 1))
    picture = max(1, int(shown[-1] - shown[0]) // max(1, len(shown) - 1))  # what one lasts on average
    end = int(shown[-1]) + picture
    step = max(picture, round(Fraction(seconds) / index.time_base))
    keys = np.unique(index.pts[index.is_safe])
    starts = _starts(shown, end, step, keys, np.asarray(cuts, np.int64))
    starts = _with_pieces(starts, shown, end, step)
    edges = np.searchsorted(shown, starts).tolist()
    windows = [
        Window(start, end, _seek(at, shown, keys))
        for start, end, at in zip([None, *starts], [*starts, None], [0, *edges], strict=True)
    ]
    counts = np.diff([0, *edges, len(shown)]).tolist()
    chunks = tuple(Chunk(number, window, counts[number]) for number, window in enumerate(windows))
    return Plan(chunks, index.time_base, _notes(index, len(chunks)))


def _starts(shown: np.ndarray, end: int, step: int, keys: np.ndarray, cuts: np.ndarray) -> list[int]:
    """First pts of all chunks but the first, one near each multiple of `step` behind the first picture."""
    first = int(shown[0])
    inner = shown[np.searchsorted(shown, cuts[cuts <= shown[-1]])]  # a cut between two pictures starts with the second
    half = -(-step // 2)
    starts: list[int] = []
    for target in range(first + step, end, step):
        earliest = max(target - half, (starts[-1] if starts else first) + half)
        for wanted in (inner, keys):
            fits = wanted[(wanted >= earliest) & (wanted <= min(target + half, end - half, shown[-1]))]
            if len(fits):
                starts.append(int(fits[np.argmin(np.abs(fits - target))]))
                break
    return starts


def _with_pieces(starts: list[int], shown: np.ndarray, film_end: int, step: int) -> list[int]:
    """Stretches of two lengths and more are cut into parts about equally long, at any picture."""
    half = -(-step // 2)
    edges = [int(shown[0]), *starts, film_end]
    pieces = list(starts)
    for start, end in pairwise(edges):
        number, latest = min(MAX_PIECES, (end - start) // step), start
        for part in range(1, number):
            wanted = min(start + (end - start) * part // number, int(shown[-1]))
            at = int(shown[np.searchsorted(shown, wanted)])
            if latest + half <= at <= end - half:
                pieces.append(at)
                latest = at
    return sorted(pieces)


def _seek(at: int, shown: np.ndarray, keys: np.ndarray) -> int | None:
    """The last key frame that leaves LEAD pictures before shown[at]; None where that is the first picture, or none."""
    if at < LEAD:
        return None
    number = int(np.searchsorted(keys, shown[at - LEAD], side="right"))
    key = int(keys[number - 1]) if number else int(shown[0])
    return key if key > shown[0] else None


def _notes(index: FrameIndex, chunks: int) -> tuple[str, ...]:
    if not index.trouble or chunks < 2:
        return ()
    return (f"{index.trouble}: every chunk is decoded from the beginning",)
