from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from streamsr.errors import Interrupted
from streamsr.runtime.crew import Crew
from streamsr.runtime.interrupt import interrupts


@pytest.fixture
def calls() -> Iterator[list[str]]:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    yield []
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_once_and_twice(calls: list[str]) -> None:
    with interrupts(lambda: calls.append("first"), lambda: calls.append("second")):
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
    assert calls == ["first", "second", "second"]


def test_terminate_is_followed_up(calls: list[str]) -> None:
    second = threading.Event()
    with interrupts(lambda: calls.append("first"), second.set, grace_s=0.05):
        signal.raise_signal(signal.SIGTERM)
        assert calls == ["first"]
        assert second.wait(10)


def test_the_follow_up_does_not_outlive_the_block(calls: list[str]) -> None:
    with interrupts(lambda: calls.append("first"), lambda: calls.append("second"), grace_s=0.2):
        signal.raise_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert calls == ["first"]


def test_handlers_come_back_after_an_error(calls: list[str]) -> None:
    with pytest.raises(ValueError, match="no"), interrupts(calls.clear, calls.clear):
        raise ValueError("no")


def test_other_threads_run_without_handlers(calls: list[str]) -> None:
    def run() -> None:
        with interrupts(calls.clear, calls.clear):
            calls.append(str(signal.getsignal(signal.SIGINT)))

    before = str(signal.getsignal(signal.SIGINT))
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(5)
    assert calls == [before]


def endless() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def test_ctrl_c_once_finishes_what_was_begun(calls: list[str]) -> None:
    taken = []
    with Crew(10.0) as crew, interrupts(crew.drain, lambda: crew.gate.abort(Interrupted("stopped"))):
        for item in crew.ahead(crew.ahead(endless(), 3, "decode", source=True), 2, "encode"):
            taken.append(item)
            if item == 10:
                os.kill(os.getpid(), signal.SIGINT)
    assert taken == list(range(len(taken)))
    assert len(taken) >= 11


def test_ctrl_c_twice_stops_a_consumer_that_waits(calls: list[str]) -> None:
    hangs = threading.Event()

    def stuck() -> Iterator[int]:
        yield 0
        hangs.wait(30)

    def press() -> None:
        for _ in range(2):
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        hangs.set()

    presser = threading.Thread(target=press)

    def job() -> None:
        with Crew(20.0) as crew, interrupts(crew.drain, lambda: crew.gate.abort(Interrupted("stopped"))):
            presser.start()
            for _ in crew.ahead(stuck(), 1, "decode"):
                pass

    with pytest.raises(Interrupted, match="stopped"):
        job()
    presser.join(5)
