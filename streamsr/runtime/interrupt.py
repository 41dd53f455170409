"""Ctrl-C in two steps: once to finish what was begun, twice to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts(first: Callable[[], None], second: Callable[[], None], grace_s: float = 5.0) -> Iterator[None]:
    """While the block runs, the first Ctrl-C calls `first`, every further one `second`; both in the main thread, in
    the middle of whatever it does, so they only set flags. SIGTERM is a first Ctrl-C that is followed by the second
    after `grace_s` seconds, as its senders kill those that stay. The old handlers come back afterwards.

    Python allows handlers in the main thread only; in any other the block runs without them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    num_seen = 0
    timers: list[threading.Timer] = []

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal num_seen
        num_seen += 1
        if num_seen > 1:
            second()
            return
        first()
        if number == signal.SIGTERM:
            timer = threading.Timer(grace_s, second)
            timer.name, timer.daemon = "streamsr-grace", True
            timers.append(timer)
            timer.start()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for timer in timers:
            timer.cancel()
            timer.join(1.0)
