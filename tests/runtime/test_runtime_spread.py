from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsr.errors import FrameMismatch
from streamsr.runtime.crew import Crew

PATIENCE_S = 20.0


def double(items: Iterator[int]) -> Iterator[int]:
    for item in items:
        yield 2 * item


def looking_ahead(items: Iterator[int]) -> Iterator[int]:
    """Keeps two in flight, as an engine does."""
    flight: list[int] = []
    for item in items:
        flight.append(2 * item)
        if len(flight) > 2:
            yield flight.pop(0)
    yield from flight


def losing(lost: int) -> Callable[[Iterator[int]], Iterator[int]]:
    return lambda items: (2 * item for item in items if item != lost)


def doubling(twice: int) -> Callable[[Iterator[int]], Iterator[int]]:
    return lambda items: (2 * item for item in items for _ in range(2 if item == twice else 1))


def leaving(last: int) -> Callable[[Iterator[int]], Iterator[int]]:
    def worker(items: Iterator[int]) -> Iterator[int]:
        for item in items:
            yield 2 * item
            if item == last:
                return

    return worker


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 40), st.integers(1, 4), st.integers(1, 3), st.data())
def test_spread_keeps_the_order(count: int, num_workers: int, depth: int, data: st.DataObject) -> None:
    workers = [data.draw(st.sampled_from([double, looking_ahead])) for _ in range(num_workers)]
    with Crew(20.0) as crew:
        results = list(crew.spread(iter(range(count)), workers, depth, "upscale"))
    assert results == [2 * number for number in range(count)]
    readings = crew.meters.snapshot()
    assert sum(readings[f"upscale[{n}]"].items for n in range(num_workers)) == count
    assert readings["upscale.deal"].items == count


@pytest.mark.parametrize("at", [0, 5, 11])
@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize("fault", [losing, doubling])
def test_spread_notices_a_lost_or_doubled_item(
    at: int, num_workers: int, fault: Callable[[int], Callable[[Iterator[int]], Iterator[int]]]
) -> None:
    faulty = at % num_workers
    workers = [fault(at) if n == faulty else double for n in range(num_workers)]
    with pytest.raises(FrameMismatch) as caught, Crew(PATIENCE_S) as crew:
        for _ in crew.spread(iter(range(12)), workers, 2, "upscale"):
            pass
    assert caught.value.stage == f"upscale[{faulty}]"


@pytest.mark.parametrize("last", [0, 4])
def test_spread_notices_a_worker_that_leaves_early(last: int) -> None:
    with pytest.raises(FrameMismatch, match="ended after") as caught, Crew(PATIENCE_S) as crew:
        for _ in crew.spread(iter(range(12)), [leaving(last), double], 2, "upscale"):
            pass
    assert caught.value.stage == "upscale[0]"


def test_generators_are_closed_on_their_own_threads_even_after_a_failure() -> None:
    closed: list[str] = []

    def numbers() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(threading.current_thread().name)

    def doubled(items: Iterator[int]) -> Iterator[int]:
        try:
            yield from doubling(4)(items)
        finally:
            closed.append(threading.current_thread().name)

    source = numbers()
    with pytest.raises(FrameMismatch), Crew(PATIENCE_S) as crew:
        for _ in crew.spread(source, [doubled], 2, "upscale"):
            pass
    assert sorted(closed) == ["upscale.deal", "upscale[0]"]
