"""The ladder: down under lasting overload, up when there is room, without swinging."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamsr.live.ladder import Ladder
from streamsr.live.stats import Counters


def run(ladder: Ladder, seconds: int, load: Callable[[int], tuple[int, int, float]], start: int = 0) -> list[int]:
    """The level at each second; `load` of a level: pictures taken, dropped, share busy."""
    return [ladder.observe(float(second), *load(ladder.level)) for second in range(start, start + seconds)]


def fine(_: int) -> tuple[int, int, float]:
    return 24, 0, 0.3


def full(_: int) -> tuple[int, int, float]:
    return 12, 12, 1.0


def test_overload_goes_down_step_by_step_to_the_end() -> None:
    counters = Counters()
    ladder = Ladder(3, counters)
    levels = run(ladder, 12, full)
    assert levels[:2] == [0, 0]
    assert levels[2] == 1
    assert levels[-1] == 2
    assert (ladder.moves, counters["ladder_moves"]) == (2, 2)
    assert ladder.why == "overload: 50% of the pictures dropped, device busy 100% of the time"


def test_a_short_overload_and_a_single_drop_change_nothing() -> None:
    ladder = Ladder(3)
    for second in range(120):
        is_late = second % 10 == 0
        assert ladder.observe(float(second), 23, 1 if not is_late else 5, 1.0 if is_late else 0.8) == 0
    assert ladder.moves == 0
    assert ladder.why == ""


def test_up_again_when_there_is_room() -> None:
    ladder = Ladder(3)
    run(ladder, 10, full)
    levels = run(ladder, 60, fine, start=10)
    assert levels[14] == 2
    assert levels[15] == 1
    assert levels[-1] == 0
    assert ladder.why.startswith("there is room")


def test_no_swinging_where_only_the_lower_rung_holds() -> None:
    """Half an hour in which the wanted model is too slow for ever: tries become rare."""
    ladder = Ladder(2)
    levels = run(ladder, 1800, lambda level: (24, 0, 0.3) if level else (12, 12, 1.0))
    assert ladder.moves <= 24
    assert sum(level == 0 for level in levels) < 60
    last = levels[-600:]
    assert sum(before != after for before, after in pairwise(last)) <= 6


def test_a_rung_that_was_held_is_tried_soon_again() -> None:
    ladder = Ladder(2)
    run(ladder, 5, full)
    run(ladder, 200, fine, start=5)
    assert ladder.level == 0
    run(ladder, 5, full, start=205)
    assert ladder.level == 1
    assert run(ladder, 20, fine, start=210)[-1] == 0


def test_neither_overload_nor_room_stays() -> None:
    ladder = Ladder(3)
    run(ladder, 4, full)
    level = ladder.level
    assert run(ladder, 300, lambda _: (24, 0, 0.8), start=4) == [level] * 300


def test_a_ladder_of_one_rung_never_moves() -> None:
    ladder = Ladder(1)
    assert set(run(ladder, 60, full)) == {0}
    assert ladder.moves == 0


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.floats(0, 1.2)), max_size=200))
def test_levels_stay_on_the_ladder(num_levels: int, loads: list[tuple[int, int, float]]) -> None:
    ladder = Ladder(num_levels, down_after_s=1.0, up_after_s=2.0)
    before = 0
    for second, load in enumerate(loads):
        level = ladder.observe(float(second), *load)
        assert 0 <= level < num_levels
        assert abs(level - before) <= 1
        before = level
