"""The watchdog of a crew: notices that nothing moves, and says who is to blame."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Iterable

from streamsr.errors import StageFailed
from streamsr.runtime.meters import Meter


def find_stall(stages: Iterable[Meter], others: Iterable[Meter], patience_s: float) -> StageFailed | None:
    """An error when stages run and no meter moved for `patience_s`, else None. To blame is who neither waits for input
    nor for room: the stage that is busy longest, else the first of the others (the consumer, background threads) that
    is busy. When all wait for each other, the stage that waits longest is named."""
    running = [meter for meter in stages if meter.state != "done"]
    helpers = [meter for meter in others if meter.state != "done"]
    now = time.monotonic()
    if not running or any(now - meter.moved_at < patience_s for meter in running + helpers):
        return None
    by_age = sorted(running, key=lambda meter: meter.since)
    busy = [meter for meter in by_age + helpers if meter.state == "busy"]
    culprit = busy[0] if busy else by_age[0]
    error = StageFailed(
        f"no progress for {patience_s:g} s",
        stage=culprit.name,
        index=culprit.items,
        remedy="If the work is only slow, raise run.patience_s; else --debug shows where it hangs.",
    )
    error.add_note("stages: " + ", ".join(f"{meter.name} {meter.state}" for meter in running + helpers))
    return error


def stack_of(thread: threading.Thread) -> str:
    """Where `thread` is now, as text; empty when it has ended."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame else ""
