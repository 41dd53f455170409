from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from streamsr.errors import Interrupted, SourceError, StageFailed
from streamsr.runtime.crew import Crew
from streamsr.runtime.gate import Cancelled

PATIENCE_S = 20.0


def double(items: Iterator[int]) -> Iterator[int]:
    for item in items:
        yield 2 * item


def test_ahead_runs_and_closes_on_its_own_thread() -> None:
    seen: list[str] = []

    def numbers() -> Iterator[int]:
        try:
            for number in range(5):
                seen.append(threading.current_thread().name)
                yield number
        finally:
            seen.append("closed on " + threading.current_thread().name)

    with Crew(PATIENCE_S) as crew:
        assert list(crew.ahead(numbers(), depth=2, name="decode")) == [0, 1, 2, 3, 4]
        assert seen == ["decode"] * 5 + ["closed on decode"]
    assert crew.stuck == {}


@pytest.mark.parametrize("depth", [1, 3])
def test_ahead_is_never_more_than_depth_results_ahead(depth: int) -> None:
    made = taken = most = 0

    def numbers() -> Iterator[int]:
        nonlocal made, most
        for number in range(30):
            made += 1
            most = max(most, made - taken)
            yield number

    with Crew(PATIENCE_S) as crew:
        results = crew.ahead(numbers(), depth, "decode")
        for number in range(30):
            time.sleep(0.002)
            taken += 1  # before the take, as the producer may refill at once
            assert next(results) == number
    assert depth <= most <= depth + 1


def test_leaving_early_ends_and_closes_the_stages() -> None:
    closed: list[str] = []

    def endless() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed.append(threading.current_thread().name)

    with Crew(PATIENCE_S) as crew:
        results = crew.spread(crew.ahead(endless(), 2, "decode"), [double, double], 2, "upscale")
        assert [next(results) for _ in range(3)] == [0, 2, 4]
    assert closed == ["decode"]
    assert crew.gate.aborted


def test_run_returns_the_result_and_its_failure() -> None:
    with Crew(PATIENCE_S) as crew:
        assert crew.run(lambda: threading.current_thread().name, "mux") == "mux"
    with pytest.raises(StageFailed, match="stage mux") as caught, Crew(PATIENCE_S) as crew:
        crew.run(lambda: 1 // 0, "mux")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_start_runs_until_the_block_is_left() -> None:
    rounds = 0
    began = threading.Event()

    def sample() -> None:
        nonlocal rounds
        while not crew.gate.wait(0.005):
            rounds += 1
            began.set()

    with Crew(PATIENCE_S) as crew:
        crew.start(sample, "sampler")
        assert began.wait(5)
    assert rounds >= 1
    assert "sampler" not in crew.meters.snapshot()
    assert crew.meters.slowest() != "sampler"


def test_a_thread_that_does_not_end_is_reported_and_not_waited_for() -> None:
    hangs = threading.Event()

    def deaf() -> None:
        hangs.wait(60)

    with pytest.raises(StageFailed, match="does not end") as caught, Crew(0.2) as crew:
        crew.start(deaf, "sampler")
    hangs.set()
    assert caught.value.stage == "sampler"
    assert "in deaf" in crew.stuck["sampler"]
    assert any("thread sampler did not end" in note for note in caught.value.__notes__)


def test_drain_ends_sources_after_the_item_in_hand_and_finishes_the_rest() -> None:
    closed = False

    def endless() -> Iterator[int]:
        nonlocal closed
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed = True

    with Crew(PATIENCE_S) as crew:
        frames = crew.ahead(endless(), 3, "decode", source=True)
        results = []
        for result in crew.ahead(crew.spread(frames, [double, double], 1, "upscale"), 1, "encode"):
            results.append(result)
            if len(results) == 5:
                crew.drain()
        assert closed
    assert results == [2 * number for number in range(len(results))]
    assert 5 <= len(results) <= 5 + 3 + 1 + 4 + 2 + 2


def test_drain_leaves_other_stages_alone() -> None:
    with Crew(PATIENCE_S) as crew:
        crew.drain()
        assert list(crew.ahead(range(9), 2, "audio")) == list(range(9))


def test_the_first_failure_is_raised_and_later_ones_are_notes() -> None:
    def fails_when_closed() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            raise OSError("cannot close")

    def fails(items: Iterator[int]) -> Iterator[int]:
        yield next(items)
        yield next(items)
        raise ValueError("bad pixels")

    with pytest.raises(StageFailed) as caught, Crew(PATIENCE_S) as crew:
        for _ in crew.ahead(fails(crew.ahead(fails_when_closed(), 2, "decode")), 2, "upscale"):
            pass
    assert str(caught.value) == "ValueError: bad pixels (stage upscale, item 2)"
    assert isinstance(caught.value.__cause__, ValueError)
    assert any("then decode" in note and "cannot close" in note for note in caught.value.__notes__)


def test_an_error_for_users_arrives_as_it_is() -> None:
    original = SourceError("the file is cut off", where="a.mkv")

    def broken() -> Iterator[int]:
        yield 1
        raise original

    with pytest.raises(SourceError) as caught, Crew(PATIENCE_S) as crew:
        list(crew.ahead(broken(), 1, "decode"))
    assert caught.value is original


def test_a_failure_of_the_block_names_the_block() -> None:
    def job() -> None:
        with Crew(PATIENCE_S, "mux") as crew:
            for item in crew.ahead(range(9), 1, "decode"):
                if item == 3:
                    raise ValueError("no")

    with pytest.raises(StageFailed) as caught:
        job()
    assert (caught.value.stage, caught.value.index) == ("mux", 4)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), SourceError("gone")])
def test_the_block_may_raise_what_passes_as_it_is(error: BaseException) -> None:
    def job() -> None:
        with Crew(PATIENCE_S) as crew:
            crew.ahead(iter(range(9)), 1, "decode")
            raise error

    with pytest.raises(type(error)) as caught:
        job()
    assert caught.value is error


def test_an_abort_from_outside_is_raised() -> None:
    def job() -> None:
        with Crew(PATIENCE_S) as crew:
            results = crew.ahead(range(9), 1, "decode")
            next(results)
            crew.gate.abort(Interrupted("stopped"))
            with pytest.raises(Cancelled):
                next(results)
            next(results)

    with pytest.raises(Interrupted, match="stopped"):
        job()


def test_after_a_failure_nothing_can_be_started() -> None:
    def job() -> None:
        with Crew(PATIENCE_S) as crew:
            crew.gate.abort(StageFailed("no", stage="decode"))
            crew.ahead(range(3), 1, "upscale")

    with pytest.raises(StageFailed, match="no"):
        job()


def test_a_stage_that_pulses_may_be_slow() -> None:
    from streamsr.runtime.meters import pulse

    def slow() -> Iterator[int]:
        for _ in range(20):
            time.sleep(0.02)
            pulse()
        yield 1

    with Crew(0.2) as crew:
        assert list(crew.ahead(slow(), 1, "upscale")) == [1]


def test_slots_that_never_come_back_stall_the_job() -> None:
    from streamsr.runtime.slots import SlotRing

    def leases() -> Iterator[int]:
        while True:
            yield ring.lease(crew.gate, 60).index

    with pytest.raises(StageFailed, match="no progress") as caught, SlotRing(2, 10) as ring, Crew(0.4) as crew:
        for _ in crew.ahead(leases(), 1, "upscale"):
            pass
    assert caught.value.stage == "upscale"
    assert "upscale blocked" in caught.value.__notes__[0]


def test_a_second_ctrl_c_does_not_wait_for_a_stage_inside_a_library() -> None:
    begun, ended = threading.Event(), threading.Event()

    def pictures() -> Iterator[int]:
        yield 1
        begun.set()
        ended.wait(30)  # as a network does on a CPU: it looks at nothing

    def run() -> None:
        with crew:
            for _ in crew.ahead(pictures(), depth=1, name="upscale"):
                assert begun.wait(10)
                crew.gate.abort(Interrupted("stopped"))

    began, crew = time.monotonic(), Crew(PATIENCE_S)
    with pytest.raises(Interrupted):
        run()
    assert time.monotonic() - began < 4
    assert list(crew.stuck) == ["upscale"]
    ended.set()
