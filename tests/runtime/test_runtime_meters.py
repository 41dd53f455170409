from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from streamsr.runtime.meters import Meter, Meters, Reading, current_meter, metered, pulse
from streamsr.runtime.watch import find_stall, stack_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A hand-driven time.monotonic."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_busy_is_what_is_left_of_the_lifetime(clock: list[float]) -> None:
    meter = Meter("upscale")
    clock[0] += 5
    with meter.waiting("starved"):
        clock[0] += 2
        assert meter.read() == Reading(0, 5, 2, 0)
        states = [meter.state]
    with meter.waiting("blocked"):
        clock[0] += 1
    clock[0] += 4
    meter.finish()
    clock[0] += 50
    assert meter.read() == Reading(0, 9, 2, 1)
    assert [*states, meter.state] == ["starved", "done"]


def test_the_consumer_is_measured_from_its_first_wait_on(clock: list[float]) -> None:
    meter = Meter("sink", is_consumer=True)
    clock[0] += 30
    assert meter.read() == Reading(0, 0, 0, 0)
    with meter.waiting("starved"):
        clock[0] += 1
    clock[0] += 2
    meter.take()
    assert meter.read() == Reading(1, 2, 1, 0)


def test_slowest_is_the_one_most_busy(clock: list[float]) -> None:
    meters = Meters()
    assert meters.slowest() is None
    decode = meters.open("decode")
    clock[0] += 1
    meters.open("upscale[0]")
    clock[0] += 3
    with decode.waiting("blocked"):
        clock[0] += 5
    assert meters.slowest() == "upscale[0]"
    assert list(meters.snapshot()) == ["decode", "upscale[0]"]
    assert meters.snapshot()["decode"] == Reading(0, 4, 0, 5)
    with pytest.raises(AssertionError, match="two stages named decode"):
        meters.open("decode")


def test_every_thread_has_its_own_meter(clock: list[float]) -> None:
    meter = Meter("mine")
    clock[0] += 7
    with metered(meter):
        other = threading.Thread(target=pulse)
        other.start()
        other.join(5)
        assert meter.moved_at == 100
        pulse()
        assert meter.moved_at == 107
        assert current_meter() is meter
    assert current_meter() is not meter


def test_readings_are_values() -> None:
    reading = Reading(1, 2.0, 3.0, 4.0)
    assert replace(reading, items=1) == reading


def test_a_stall_names_the_one_that_neither_waits_for_input_nor_for_room(clock: list[float]) -> None:
    decode, upscale, sink, sampler = Meter("decode"), Meter("upscale"), Meter("sink"), Meter("sampler")
    upscale.items = 4
    with decode.waiting("blocked"), sink.waiting("starved"):
        clock[0] += 9
        assert find_stall([decode, upscale], [sink, sampler], 10) is None
        clock[0] += 1
        stall = find_stall([decode, upscale], [sink, sampler], 10)
        assert stall is not None
        assert (stall.stage, stall.index) == ("upscale", 4)
        assert "no progress for 10 s" in str(stall)
        assert stall.__notes__ == ["stages: decode blocked, upscale busy, sink starved, sampler busy"]
        upscale.pulse()
        assert find_stall([decode, upscale], [sink, sampler], 10) is None


def test_a_stall_of_all_who_wait_for_each_other_names_the_longest_wait(clock: list[float]) -> None:
    decode, upscale = Meter("decode"), Meter("upscale")
    with upscale.waiting("starved"):
        clock[0] += 1
        with decode.waiting("blocked"):
            clock[0] += 20
            stall = find_stall([decode, upscale], [], 10)
    assert stall is not None
    assert stall.stage == "upscale"


def test_without_a_running_stage_nothing_stalls(clock: list[float]) -> None:
    decode, sink = Meter("decode"), Meter("sink")
    decode.finish()
    clock[0] += 100
    assert find_stall([decode], [sink], 10) is None
    assert find_stall([], [sink], 10) is None


def test_stack_of_a_thread() -> None:
    ready, leave = threading.Event(), threading.Event()

    def wait_in_here() -> None:
        ready.set()
        leave.wait(30)

    thread = threading.Thread(target=wait_in_here)
    thread.start()
    ready.wait(5)
    assert "wait_in_here" in stack_of(thread)
    leave.set()
    thread.join(5)
    assert stack_of(thread) == ""
