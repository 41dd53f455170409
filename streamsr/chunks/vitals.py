"""Whether a process still does anything: it says something, or it and its children use the processor."""

from __future__ import annotations

import os
import time
from pathlib import Path

LEAST_LOAD = 0.01
"""The share of a core that counts as work. What only waits and polls uses less."""


class Vitals:
    """Signs of life of the process `pid`. A long encode is not silence: it uses the processor, if only in a child of
    the worker. Without /proc only messages count."""

    def __init__(self, pid: int, patience_s: float) -> None:
        self._pid, self._patience_s = pid, patience_s
        self._alive_at = self._looked_at = time.monotonic()
        self._used_s = 0.0

    def seen(self) -> None:
        """It has said something."""
        self._alive_at = time.monotonic()

    def are_gone(self) -> bool:
        """True after `patience_s` without a message in which less than LEAST_LOAD of a core was used. Looks at /proc
        now and then only, so that it may be called often."""
        now = time.monotonic()
        if now - self._looked_at < min(1.0, self._patience_s / 20):
            return False
        self._looked_at = now
        used_s = tree_cpu_seconds(self._pid)
        if used_s - self._used_s >= LEAST_LOAD * self._patience_s:
            self._alive_at, self._used_s = now, used_s
        self._used_s = min(self._used_s, used_s)  # what a killed child had used is gone from the sum
        return now - self._alive_at > self._patience_s


def tree_cpu_seconds(pid: int) -> float:
    """User and system time that the process and its descendants have used, with those that have ended and were waited
    for (proc(5), stat, fields 14 to 17); 0 where the system does not tell."""
    ticks, open_pids = 0, [pid]
    for process in open_pids:  # grows while it is read
        folder = Path("/proc") / str(process)
        try:
            fields = (folder / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
            for task in (folder / "task").iterdir():
                open_pids += map(int, (task / "children").read_text("ascii").split())
        except (OSError, ValueError, IndexError):
            continue
    return ticks / os.sysconf("SC_CLK_TCK")
