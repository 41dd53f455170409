"""Every picture is in exactly one chunk, whatever the film looks like."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsr.chunks.plan import LEAD, MAX_PIECES, Chunk, Plan, plan_chunks
from streamsr.frames import FrameIndex, Window

MS = Fraction(1, 1000)


@dataclass(frozen=True)
class Gop:
    """A key frame, shown after `leading` of the pictures that follow it. `steps`: ticks from picture to picture."""

    leading: int
    steps: list[int]
    is_safe: bool


def index_of(gops: list[Gop], first: int = 0, trouble: str = "") -> FrameIndex:
    """The index of a film of such groups, in decode order: each group shows its leading pictures first."""
    pts: list[int] = []
    keys: list[bool] = []
    safe: list[bool] = []
    at = first
    for gop in gops:
        times = []
        for step in gop.steps:
            times.append(at)
            at += step
        leading = min(gop.leading, len(times) - 1)
        pts += [times[leading], *times[:leading], *times[leading + 1 :]]
        keys += [True] + [False] * (len(times) - 1)
        safe += [gop.is_safe] + [False] * (len(times) - 1)
    columns = np.array(pts, np.int64), np.array(keys, bool), np.array(safe, bool), np.full(len(pts), 100)
    return FrameIndex(*columns, time_base=MS, trouble=trouble)


def regular(frames: int, gop: int, step: int = 40) -> FrameIndex:
    return index_of([Gop(0, [step] * min(gop, frames - at), True) for at in range(0, frames, gop)])


def spans(plan: Plan) -> list[tuple[int | None, int | None]]:
    return [(chunk.window.start_pts, chunk.window.end_pts) for chunk in plan.chunks]


def inside_of(index: FrameIndex, start: int | None, end: int | None) -> list[int]:
    """The pictures of a window or a range, in order."""
    return [pts for pts in sorted(index.pts.tolist()) if (start is None or pts >= start) and (end is None or pts < end)]


def assert_covers(plan: Plan, index: FrameIndex, start: int | None = None, end: int | None = None) -> None:
    """Windows meet from None to None, hold every picture of the range once and count them right."""
    bounds = spans(plan)
    assert bounds[0][0] is None
    assert bounds[-1][1] is None
    assert all(a[1] == b[0] is not None for a, b in pairwise(bounds))
    assert [chunk.index for chunk in plan.chunks] == list(range(len(plan.chunks)))
    wanted = inside_of(index, start, end)
    held = [[pts for pts in inside_of(index, low, high) if pts in set(wanted)] for low, high in bounds]
    assert [pts for part in held for pts in part] == wanted
    assert [len(part) for part in held] == [chunk.frames for chunk in plan.chunks]
    assert all(held) or not wanted


def assert_begins_safely(plan: Plan, index: FrameIndex, start: int | None) -> None:
    safe = set(index.pts[index.is_safe].tolist())
    for chunk in plan.chunks:
        begin, seek = chunk.window.start_pts, chunk.window.seek_pts
        if seek is not None and begin is not None:
            assert seek in safe
            between = index.pts[(index.pts >= max(seek, -(10**9) if start is None else start)) & (index.pts < begin)]
            assert len(between) >= LEAD


GOPS = st.lists(
    st.builds(
        Gop,
        leading=st.integers(0, 4),
        steps=st.lists(st.integers(1, 200), min_size=1, max_size=25),
        is_safe=st.booleans() | st.just(True),
    ),
    max_size=15,
)


@settings(max_examples=150, deadline=None)
@given(
    gops=GOPS,
    first=st.integers(-500, 5000),
    seconds=st.floats(0.001, 6),
    bounds=st.tuples(st.none() | st.integers(-100, 20000), st.none() | st.integers(-100, 20000)),
    cuts=st.lists(st.integers(-1000, 30000), max_size=10),
    trouble=st.sampled_from(["", "its clock runs backwards"]),
)
def test_every_picture_is_in_one_chunk(
    gops: list[Gop],
    first: int,
    seconds: float,
    bounds: tuple[int | None, int | None],
    cuts: list[int],
    trouble: str,
) -> None:
    index = index_of(gops, first, trouble)
    plan = plan_chunks(index, seconds, *bounds, cuts=cuts)
    assert plan == plan_chunks(index, seconds, *bounds, cuts=cuts)
    assert_covers(plan, index, *bounds)
    assert_begins_safely(plan, index, bounds[0])
    starts = [start for start, _ in spans(plan) if start is not None]
    inside = inside_of(index, *bounds)
    if starts:
        last = max(1, (max(inside) - min(inside)) // (len(inside) - 1))
        lengths = [b - a for a, b in pairwise([min(inside), *starts, max(inside) + last])]
        assert min(lengths) >= seconds * 1000 / 2 - 1


def test_chunks_start_on_the_nearest_key_frames() -> None:
    plan = plan_chunks(regular(250, gop=12), seconds=2)
    assert spans(plan) == [(None, 1920), (1920, 3840), (3840, 5760), (5760, 8160), (8160, None)]
    # one group earlier, so that two pictures come before
    assert [chunk.window.seek_pts for chunk in plan.chunks] == [None, 1440, 3360, 5280, 7680]
    assert [chunk.frames for chunk in plan.chunks] == [48, 48, 48, 60, 46]
    assert plan.notes == ()


def test_a_short_rest_belongs_to_the_last_chunk() -> None:
    assert spans(plan_chunks(regular(70, gop=10), seconds=1)) == [(None, 800), (800, 2000), (2000, None)]
    assert spans(plan_chunks(regular(50, gop=10), seconds=1)) == [(None, 800), (800, None)]


def test_intra_only_films_begin_two_pictures_before() -> None:
    plan = plan_chunks(regular(100, gop=1), seconds=1)
    assert [chunk.window for chunk in plan.chunks[:2]] == [Window(None, 1000), Window(1000, 2000, 920)]


def test_a_cut_near_the_boundary_wins() -> None:
    plan = plan_chunks(regular(100, gop=25), seconds=2, cuts=[0, 1880, 1960, 5000])
    assert spans(plan) == [(None, 1960), (1960, None)]
    assert plan.chunks[1].window.seek_pts == 1000
    between_pictures = plan_chunks(regular(100, gop=25), seconds=2, cuts=[1961])
    assert spans(between_pictures)[1][0] == 2000


def test_a_range() -> None:
    plan = plan_chunks(regular(250, gop=25), seconds=2, start_pts=2500, end_pts=7000)
    assert spans(plan) == [(None, 5000), (5000, 6000), (6000, None)]
    assert [chunk.window.seek_pts for chunk in plan.chunks] == [None, 4000, 5000]
    assert sum(chunk.frames for chunk in plan.chunks) == 112


@pytest.mark.parametrize("frames", [0, 1])
def test_there_is_always_a_chunk(frames: int) -> None:
    plan = plan_chunks(index_of([Gop(0, [40], True)] * frames), seconds=10)
    assert plan.chunks == (Chunk(0, Window(), frames),)
    assert plan_chunks(regular(50, 10), 1, start_pts=9000).chunks == (Chunk(0, Window(), 0),)


def test_one_key_frame_only() -> None:
    plan = plan_chunks(regular(1000, gop=1000), seconds=2)
    assert len(plan.chunks) == MAX_PIECES
    assert {chunk.frames for chunk in plan.chunks} == {125}
    assert {chunk.window.seek_pts for chunk in plan.chunks} == {None}
    assert len(plan_chunks(regular(90, gop=90), seconds=2).chunks) == 1


def test_trouble_is_said_once() -> None:
    index = index_of([Gop(0, [40] * 500, False)], trouble="a raw stream has no times")
    plan = plan_chunks(index, seconds=10)
    assert plan.notes == ("a raw stream has no times: every chunk is decoded from the beginning",)
    assert [chunk.frames for chunk in plan.chunks] == [250, 250]
    assert plan_chunks(index, seconds=100).notes == ()


def test_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match="chunks of 0 s"):
        plan_chunks(regular(10, 5), seconds=0)
