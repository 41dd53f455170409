"""How long pictures take from stage to stage."""

from __future__ import annotations

import threading
from collections import deque

from streamsr.live.stats import Percentiles

WINDOW = 1000
"""Measurements per stage that are remembered: about forty seconds of video."""


class Latency:
    """The last measurements of each stage. Written and read by any thread."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._seconds.setdefault(stage, deque(maxlen=WINDOW)).append(seconds)

    def snapshot(self) -> dict[str, Percentiles]:
        """By stage, in the order in which the stages were first measured."""
        with self._lock:
            copies = {stage: list(values) for stage, values in self._seconds.items()}
        return {stage: _percentiles(values) for stage, values in copies.items()}


def _percentiles(values: list[float]) -> Percentiles:
    """Each is a value that was measured: the smallest one that 50 or 99 of 100 do not exceed."""
    ordered = sorted(values)
    p50, p99 = (ordered[-(-len(ordered) * percent // 100) - 1] * 1000 for percent in (50, 99))
    return Percentiles(p50, p99, len(ordered))
