"""Whether an ingest process still does what it is there for. Fed by its parent with what it says."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction

START_S = 30.0
"""A fresh interpreter on a busy machine."""
GRACE_S = 1.0
"""The process has timeouts of its own and knows better words: it may speak first."""
RUNAWAY_S, RUNAWAY_FACTOR, RUNAWAY_RATE = 5.0, 4.0, 480.0
"""No source of pictures is so much faster than it says, for so long: its clock or its driver has gone mad."""


class IngestWatch:
    """Of one process. `trouble` says what is wrong with it, None while nothing is."""

    def __init__(
        self, open_timeout_s: float, stall_s: float, clock: Callable[[], float] = time.monotonic, *, counts: bool = True
    ) -> None:
        """`counts`: the rate is watched."""
        self._open_s, self._stall_s, self._clock, self._counts = open_timeout_s, stall_s, clock, counts
        self._since = self._window_since = clock()
        self._limit_s, self._trouble = START_S, f"the process did not start within {START_S:g} s"
        self._num_pictures = 0

    def started(self) -> None:
        # FFmpeg's timeout is for the connection and once more for a first look at the tracks.
        self._expect(2 * self._open_s + GRACE_S, f"no answer within {self._open_s:g} s")

    def reached(self) -> None:
        self._expect(self._stall_s + GRACE_S, f"no picture for {self._stall_s:g} s")
        self._window_since = self._since

    def pictures(self, number: int = 1) -> None:
        """So many came, or were left out for want of a slot."""
        self._since = self._clock()
        self._num_pictures += number

    def excused(self, seconds: float | None = None) -> None:
        """The last `seconds` were not the source's fault; None: all since the last picture."""
        self._since = self._clock() if seconds is None else self._since + seconds

    def trouble(self, rate: Fraction | None = None) -> str | None:
        """`rate`: pictures per second as the source says."""
        now = self._clock()
        if now - self._since > self._limit_s:
            return self._trouble
        if now - self._window_since >= RUNAWAY_S:
            per_second = self._num_pictures / (now - self._window_since)
            self._window_since, self._num_pictures = now, 0
            if self._counts and per_second > max(RUNAWAY_FACTOR * float(rate or 0), RUNAWAY_RATE):
                return f"{per_second:.0f} pictures per second"
        return None

    def _expect(self, limit_s: float, trouble: str) -> None:
        self._since, self._limit_s, self._trouble = self._clock(), limit_s, trouble
