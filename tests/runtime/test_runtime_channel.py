from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsr.runtime.channel import Channel
from streamsr.runtime.gate import Cancelled, Gate
from streamsr.runtime.meters import Meter, metered


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_first_abort_wins_and_holds() -> None:
    gate, first = Gate(), ValueError("first")
    gate.check()
    assert not gate.aborted
    assert not gate.wait(0.01)
    gate.abort(first)
    gate.abort(ValueError("second"))
    assert gate.aborted
    assert gate.error is first
    assert gate.wait(10)
    for _ in range(2):
        with pytest.raises(Cancelled, match="first"):
            gate.check()


def test_abort_wakes_a_waiting_thread() -> None:
    gate = Gate()
    waiter = in_thread(lambda: gate.wait(30))
    gate.abort(ValueError())
    waiter.join(5)
    assert not waiter.is_alive()


def test_abort_may_interrupt_the_thread_that_holds_the_gate() -> None:
    gate = Gate()
    with gate._changed:  # what a signal handler finds when it interrupts `wait`
        gate.abort(ValueError())
    assert gate.aborted


@given(st.lists(st.integers()), st.integers(1, 5))
def test_order_and_end(items: list[int], depth: int) -> None:
    channel: Channel[int] = Channel(depth, Gate())
    most = 0

    def produce() -> None:
        nonlocal most
        for item in items:
            channel.put(item)
            most = max(most, len(channel))
        channel.end()

    producer = in_thread(produce)
    assert list(channel) == items
    assert list(channel) == []
    assert most <= depth
    producer.join(5)


@pytest.mark.parametrize("side", ["put", "wait_for_room", "next"])
def test_abort_wakes_both_sides(side: str) -> None:
    gate = Gate()
    channel: Channel[int] = Channel(1, gate)
    if side != "next":
        channel.put(1)
    calls: dict[str, Callable[[], object]] = {
        "put": lambda: channel.put(2),
        "wait_for_room": channel.wait_for_room,
        "next": lambda: next(channel),
    }
    seen: list[BaseException] = []

    def wait() -> None:
        try:
            calls[side]()
        except Cancelled as error:
            seen.append(error)

    waiter = in_thread(wait)
    time.sleep(0.02)
    assert waiter.is_alive()
    gate.abort(ValueError("stop"))
    waiter.join(5)
    assert [str(error) for error in seen] == ["stop"]


def test_after_an_abort_items_are_not_delivered() -> None:
    gate = Gate()
    channel: Channel[int] = Channel(2, gate)
    channel.put(1)
    gate.abort(ValueError())
    with pytest.raises(Cancelled):
        next(channel)
    with pytest.raises(Cancelled):
        channel.put(2)


def test_misuse_is_noticed() -> None:
    channel: Channel[int] = Channel(2, Gate(), "frames")
    channel.end()
    with pytest.raises(AssertionError, match="frames"):
        channel.put(1)
    with pytest.raises(AssertionError, match="depth 0"):
        Channel(0, Gate())


def test_two_consumers_are_noticed() -> None:
    gate = Gate()
    channel: Channel[int] = Channel(2, gate, "frames")

    def consume() -> None:
        with pytest.raises(Cancelled):
            next(channel)

    consumer = in_thread(consume)
    while not channel._is_read:
        time.sleep(0.001)
    with pytest.raises(AssertionError, match="two consumers of channel frames"):
        next(channel)
    gate.abort(ValueError())
    consumer.join(5)


def test_waits_are_metered_on_the_side_that_waits() -> None:
    channel: Channel[int] = Channel(1, Gate())
    producer, consumer = Meter("producer"), Meter("consumer", is_consumer=True)
    channel.put(0)

    def produce() -> None:
        with metered(producer):
            channel.put(1)
            time.sleep(0.1)
            channel.put(2)
            channel.end()

    thread = in_thread(produce)
    time.sleep(0.1)
    with metered(consumer):
        assert list(channel) == [0, 1, 2]
    thread.join(5)
    assert producer.read().blocked_s > 0.05
    assert producer.read().starved_s == 0
    assert consumer.read().starved_s > 0.05
    assert consumer.read().blocked_s == 0
    assert consumer.read().items == 3
