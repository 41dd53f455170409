"""Where the time of a job goes: per stage, how long it worked, waited for input, waited for room in its output."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

State = Literal["busy", "starved", "blocked", "done"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One stage at one moment. `items`: results delivered (of the consumer in the with-block: items taken);
    `busy_s`: lifetime less the waits; `starved_s`: waiting for input; `blocked_s`: waiting for room or for a slot."""

    items: int
    busy_s: float
    starved_s: float
    blocked_s: float


class Meter:
    """The clock of one stage. Written by the stage's own thread, read by any."""

    def __init__(self, name: str, *, is_consumer: bool = False) -> None:
        """`is_consumer`: the with-block itself, which counts what it takes, from its first wait on."""
        self.name, self._is_consumer = name, is_consumer
        self.items = 0
        self.state: State = "busy"
        self.since = self.moved_at = time.monotonic()
        """Since when `state` holds, and when the stage last took or delivered something (time.monotonic())."""
        self._started = None if is_consumer else self.since
        self._ended: float | None = None
        self._waited = {"starved": 0.0, "blocked": 0.0}

    @contextmanager
    def waiting(self, state: Literal["starved", "blocked"]) -> Iterator[None]:
        """Counts the time inside the block as waiting."""
        begun = time.monotonic()
        if self._started is None:
            self._started = begun
        before, self.state, self.since = self.state, state, begun
        try:
            yield
        finally:
            now = time.monotonic()
            self._waited[state] += now - begun
            self.state, self.since = before, now

    def pulse(self, silence_s: float = 0.0) -> None:
        """Notes that the stage moves, and may then be silent for `silence_s` beyond the usual patience."""
        self.moved_at = time.monotonic() + silence_s

    def take(self) -> None:
        """Notes that the stage took an item."""
        self.pulse()
        self.items += self._is_consumer

    def finish(self) -> None:
        """Stops the clock."""
        if self._ended is None:
            self._ended = self.since = time.monotonic()
            self.state = "done"

    def read(self) -> Reading:
        now = self._ended or time.monotonic()
        waited = dict(self._waited)
        state, since = self.state, self.since
        if state in waited:
            waited[state] += max(0.0, now - since)
        lifetime = now - self._started if self._started is not None else 0.0
        busy = max(0.0, lifetime - waited["starved"] - waited["blocked"])
        return Reading(self.items, busy, waited["starved"], waited["blocked"])


class Meters:
    """The meters of a job by stage name, in the order in which the stages were started."""

    def __init__(self) -> None:
        self._meters: dict[str, Meter] = {}

    def open(self, name: str, *, is_consumer: bool = False) -> Meter:
        """A new meter. A name is used once in a job."""
        assert name not in self._meters, f"two stages named {name}"
        meter = self._meters[name] = Meter(name, is_consumer=is_consumer)
        return meter

    def snapshot(self) -> dict[str, Reading]:
        return {name: meter.read() for name, meter in list(self._meters.items())}

    def slowest(self) -> str | None:
        """The stage with the most busy time, which sets the pace of the whole; None before any has worked."""
        readings = self.snapshot()
        return max(readings, key=lambda name: readings[name].busy_s, default=None)


class _ThreadMeter(threading.local):
    meter: Meter | None = None


_of_thread = _ThreadMeter()


def current_meter() -> Meter:
    """The meter of the calling thread; a thread that belongs to no crew gets one of its own that nobody reads."""
    if _of_thread.meter is None:
        _of_thread.meter = Meter(threading.current_thread().name)
    return _of_thread.meter


@contextmanager
def metered(meter: Meter) -> Iterator[None]:
    """Makes `meter` the calling thread's for the block."""
    before, _of_thread.meter = _of_thread.meter, meter
    try:
        yield
    finally:
        _of_thread.meter = before


def pulse(silence_s: float = 0.0) -> None:
    """Tells the watchdog of the crew that the calling stage is alive: for stages that work long on one item, as a
    network that goes over a picture tile by tile. `silence_s`: before one long call that cannot tell, for how long."""
    current_meter().pulse(silence_s)
