from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsr.chunks.simulate import Conditions, Measured, first_wall, simulate, unequal

FREE = Conditions(plan_s=0, start_s=0, storage_rate=1e18, join_rate=1e18)


def chunks(*seconds: float, part_bytes: int = 0) -> list[Measured]:
    return [Measured(length, 0, part_bytes) for length in seconds]


def test_one_worker_takes_the_sum_and_two_the_longer_half() -> None:
    assert simulate(chunks(5, 3, 2), [1.0], FREE).wall_s == pytest.approx(10)
    two = simulate(chunks(5, 3, 2), [1.0, 1.0], FREE)
    assert two.wall_s == pytest.approx(5)
    assert two.utilisation == pytest.approx(1)
    assert two.speedup == pytest.approx(2)
    assert two.wall == "computing"


def test_a_faster_worker_does_more() -> None:
    run = simulate(chunks(*[1.0] * 40), [3.0, 1.0], FREE)
    assert run.wall_s == pytest.approx(10, rel=0.1)


def test_planning_starting_and_joining_are_counted() -> None:
    conditions = Conditions(plan_s=1, start_s=2, storage_rate=1e18, join_rate=100)
    run = simulate(chunks(10, 10, part_bytes=50), [1.0, 1.0], conditions)
    assert run.plan_s == 1
    assert run.work_s == pytest.approx(12)
    assert run.join_s == pytest.approx(1)
    assert run.wall_s == pytest.approx(14)
    assert run.utilisation == pytest.approx(20 / 28)
    assert run.speedup == pytest.approx(24 / 14)


def test_storage_is_shared() -> None:
    """Ten chunks of one second that move 100 bytes each, at 100 bytes per second in all: storage needs ten seconds."""
    conditions = Conditions(plan_s=0, start_s=0, storage_rate=100, join_rate=1e18)
    one = simulate([Measured(1, 100, 0)] * 10, [1.0], conditions)
    ten = simulate([Measured(1, 100, 0)] * 10, [1.0] * 10, conditions)
    assert one.wall_s == pytest.approx(10)
    assert ten.wall_s == pytest.approx(10)
    assert ten.wall == "storage"
    assert ten.utilisation == pytest.approx(0.1)


def test_one_long_chunk_is_named() -> None:
    run = simulate(chunks(100, *[1.0] * 20), [1.0] * 20, FREE)
    assert run.wall_s == pytest.approx(100)
    assert run.wall == "longest chunk"


def test_the_wall_is_found() -> None:
    conditions = Conditions(plan_s=1, start_s=1, storage_rate=1e9, join_rate=100)
    runs = [simulate(chunks(*[10.0] * 400, part_bytes=10), [1.0] * num, conditions) for num in (200, 1, 10, 400)]
    assert [run.wall for run in runs] == ["joining" if run.join_s + 1 > run.wall_s / 2 else "computing" for run in runs]
    wall = first_wall(runs)
    assert wall is not None
    assert wall.workers == 200
    assert first_wall(runs[1:2]) is None


def test_speeds_are_spread_around_one() -> None:
    assert unequal(1) == (1.0,)
    assert list(unequal(3, 0.2)) == pytest.approx([0.8, 1.0, 1.2])


def test_without_chunks_or_workers_there_is_nothing() -> None:
    with pytest.raises(ValueError, match="chunks and workers"):
        simulate([], [1.0], FREE)
    with pytest.raises(ValueError, match="chunks and workers"):
        simulate(chunks(1), [], FREE)


@settings(max_examples=80, deadline=None)
@given(
    lengths=st.lists(st.floats(0.1, 100), min_size=1, max_size=30),
    speeds=st.lists(st.floats(0.3, 3), min_size=1, max_size=12),
    num_bytes=st.integers(0, 10_000),
    rate=st.floats(10, 1e6),
)
def test_it_is_never_faster_than_it_can_be(
    lengths: list[float], speeds: list[float], num_bytes: int, rate: float
) -> None:
    measured = [Measured(length, num_bytes, num_bytes) for length in lengths]
    run = simulate(measured, speeds, Conditions(1, 2, rate, rate))
    least = max(sum(lengths) / sum(speeds), max(lengths) / max(speeds), 2 * num_bytes * len(lengths) / rate)
    assert run.work_s >= (2 + least) * (1 - 1e-6)
    most = sum(lengths) / min(speeds) + 2 * num_bytes * len(lengths) / rate
    assert run.work_s <= 2 + most + 1e-6
    assert 0 < run.utilisation <= 1 + 1e-9
