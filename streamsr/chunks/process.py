"""One worker process, seen from its parent: tasks in, events out, and whether it still lives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from streamsr.chunks.executor import NO_TASK, Event, Failure, Kind, Place, Task, WorkSpec
from streamsr.chunks.vitals import Vitals
from streamsr.chunks.worker import serve
from streamsr.runtime.allocator import keeping
from streamsr.runtime.child import Child
from streamsr.runtime.gate import Cancelled

Start = Callable[[str, Callable[..., None], tuple[Any, ...], Mapping[str, str]], Child]
"""Starts a child process: (name, target, args, environment)."""

_MESSAGE_S = 10.0
"""A message that has begun to come is whole within this time."""


class WorkerProcess:
    """A spawned process that has `spec` open. `state`: "opening", "ready" for a task, "busy" with one, or "gone", and
    `failure` says why: it ended, went silent for `patience_s`, could not open its work (`is_unfit`), or its task
    failed. What a process may have broken when a task failed (a CUDA context, a full card) is not handed on."""

    def __init__(self, spec: WorkSpec, place: Place, start: Start, patience_s: float) -> None:
        self.place = place
        self.state = "opening"
        self.failure: Failure | None = None
        self.is_unfit = False
        self._patience_s = patience_s
        self._key, self._attempt = NO_TASK, 0
        inside = replace(place, device="cuda:0") if place.device.startswith("cuda") else place
        self.child = start(f"worker {place.worker}", serve, (spec, inside), environment_of(place))
        self._vitals = Vitals(self.child.pid, patience_s)

    def give(self, task: Task, attempt: int) -> Event:
        """Sends it the task; the event that says so."""
        assert self.state == "ready", f"{self.place.worker} is {self.state}"
        self._key, self._attempt, self.state = task.key, attempt, "busy"
        self._vitals.seen()
        with contextlib.suppress(EOFError, TimeoutError):  # the next `poll` finds out
            self.child.send((task.payload,), self._patience_s)
        return self._event("started")

    def poll(self) -> list[Event]:
        """What it said since the last call; does not wait."""
        events: list[Event] = []
        while self.state != "gone" and self.child.connection.poll(0):
            try:
                message = self.child.recv(_MESSAGE_S)
            except (EOFError, OSError) as error:  # OSError: it died in the middle of a message
                events += self._lose(f"ended: {self.child.exit_status()}" if not self.child.alive() else str(error))
            else:
                self._vitals.seen()
                events += self._handle(*message)
        if self.state in ("opening", "busy") and self._vitals.are_gone():
            events += self._lose(f"gave no sign of life for {self._patience_s:g} s")
        return events

    def end(self) -> None:
        """Lets it leave its work's with-block, if it waits for a task. `stop` must follow."""
        if self.state == "ready":
            with contextlib.suppress(EOFError, TimeoutError, Cancelled):
                self.child.send((), self._patience_s)

    def stop(self, patience_s: float) -> None:
        """Ends the process, see Child.stop."""
        self.child.stop(patience_s)

    def _handle(self, kind: str, *values: Any) -> list[Event]:
        match kind:
            case "ready":
                self.state = "ready"
                return []
            case "progress":
                return [self._event("progress", frames=values[0])]
            case "done":
                event = self._event("done", result=values[0], seconds=values[1])
                self.state, self._key = "ready", NO_TASK
                return [event]
            case "failed":
                failure: Failure = values[0]
                self.state, self.failure = "gone", failure
                return [failure.event("failed", self._key, self.place.worker, self._attempt, values[1])]
            case "unfit":
                self.state, self.failure, self.is_unfit = "gone", values[0], True
                return []
        raise AssertionError(f"unknown message {kind!r}")

    def _lose(self, how: str) -> list[Event]:
        words = self.child.last_words().strip().splitlines()[-1:] or [""]
        line = f"worker {self.place.worker} {how}" + (f": {words[0].strip()}" if words[0] else "")
        self.state, self.failure = "gone", Failure(line, "StageFailed", "retry")
        return [] if self._key == NO_TASK else [self._event("lost", error=line)]

    def _event(self, kind: Kind, **facts: Any) -> Event:
        return Event(kind, self._key, self.place.worker, self._attempt, **facts)


def environment_of(place: Place) -> dict[str, str]:
    """Variables that libraries read when they are loaded, so that they are set before the process begins.

    CUDA_VISIBLE_DEVICES rather than a device number: the encoder's process inherits it, so that NVENC, too, works on
    the worker's card, and no library can open a context on another. The worker sees its card as cuda:0."""
    chosen = {"OMP_WAIT_POLICY": "PASSIVE", "GLIBC_TUNABLES": keeping(os.environ.get("GLIBC_TUNABLES", ""))}
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    chosen |= {name: str(place.threads) for name in names}
    if place.device.startswith("cuda"):
        number = int(place.device.partition(":")[2] or 0)
        listed = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        chosen["CUDA_VISIBLE_DEVICES"] = listed[number] if number < len(listed) else str(number)
    return chosen
