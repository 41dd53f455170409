"""The speed of a source that has none of its own: a file, a filter graph, the bursts of HLS."""

from __future__ import annotations

import time
from collections.abc import Callable

LATE_S = 0.5
"""So far behind, the lost time is not made up for any more."""
JUMP_S = 5.0
"""A gap in the timestamps that nobody waits for."""
PULSE_S = 0.5


class Pace:
    """Holds a reader back to the source's clock, counted from its first picture. `pulse` is called now and then during
    a long wait."""

    def __init__(
        self,
        pulse: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pulse, self._clock, self._sleep = pulse, clock, sleep
        self._start_s: float | None = None

    def wait(self, time_s: float) -> None:
        """Until `time_s` is due; at once when that is past or too far away to be true: then time starts anew."""
        now = self._clock()
        if self._start_s is None or not -LATE_S <= self._start_s + time_s - now <= JUMP_S:
            self._start_s = now - time_s
        self._wait_until(self._start_s + time_s)

    def keep_near(self, time_s: float, ahead_s: float) -> None:
        """For sound: it may run ahead of the pictures by `ahead_s`, and says nothing of what is due."""
        if self._start_s is not None and self._start_s + time_s - self._clock() <= JUMP_S:
            self._wait_until(self._start_s + time_s - ahead_s)

    def _wait_until(self, due: float) -> None:
        while (left := due - self._clock()) > 0:
            self._sleep(min(left, PULSE_S))
            if left > PULSE_S:
                self._pulse()
