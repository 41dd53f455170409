"""Workers that are processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from types import TracebackType

from streamsr.chunks.executor import NO_TASK, Event, Place, Task, WorkSpec
from streamsr.chunks.process import WorkerProcess
from streamsr.errors import StageFailed, StreamSRError
from streamsr.runtime.child import POLL_S
from streamsr.runtime.crew import Crew

STRIKES = 3
"""How often in a row a place may lose its process or fail a task before it is given up."""
_LEAVE_S = 2.0


def local_places(devices: Sequence[str], per_device: int, cores: int) -> tuple[Place, ...]:
    """`per_device` workers on each of `devices` ("cpu", "cuda:N"), named cpu-0, cuda:1-0, ..., which share `cores`."""
    total = max(1, len(devices) * per_device)
    threads = max(1, cores // total)
    return tuple(Place(device, threads, f"{device}-{n}") for n in range(per_device) for device in devices)


class LocalExecutor:
    """An Executor: one spawned process per place, each with its own CUDA context, started on entering the block.

    A process that ends or is silent for `patience_s` (see Vitals), and one whose task failed, is replaced by a new one.
    A place with STRIKES such ends in a row is given up, and at once where the work cannot be opened: "lost" with
    NO_TASK says so. The others go on. The processes belong to `crew`, within whose block this one lies."""

    def __init__(self, spec: WorkSpec, places: Sequence[Place], crew: Crew, patience_s: float) -> None:
        assert places, "no places"
        self._spec, self._places, self._crew, self._patience_s = spec, tuple(places), crew, patience_s
        self._processes: dict[str, WorkerProcess] = {}
        self._strikes = {place.worker: 0 for place in places}
        self._pending: list[Event] = []
        self._error: StreamSRError | None = None
        self._is_draining = False

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    def __enter__(self) -> LocalExecutor:
        for place in self._places:
            self._start(place)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_calm = error is None and all(process.state in ("ready", "gone") for process in self._processes.values())
        for process in self._processes.values():  # all at once: each may take its time
            if is_calm:
                process.end()
            elif process.child.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.child.pid, signal.SIGTERM)
        for process in self._processes.values():
            process.stop(_LEAVE_S if is_calm else 0.0)
        self._processes.clear()

    def workers(self) -> tuple[str, ...]:
        return tuple(self._processes)

    def idle(self, avoid: frozenset[str] = frozenset()) -> bool:
        return self._free(avoid) is not None

    def submit(self, task: Task, attempt: int, avoid: frozenset[str]) -> None:
        process = self._free(avoid)
        assert process is not None, "submit while no worker is idle"
        self._pending.append(process.give(task, attempt))

    def drain(self) -> None:
        self._is_draining = True

    def events(self, timeout_s: float) -> list[Event]:
        deadline = time.monotonic() + timeout_s
        while True:
            self._crew.gate.check()
            events, self._pending = self._pending, []
            num_ready = self._num_ready
            for process in list(self._processes.values()):
                events += self._settle(process)
            if events or self._num_ready > num_ready:
                return events
            if self._error is not None:
                raise self._error
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return []
            wait([process.child.connection for process in self._processes.values()], min(POLL_S, left_s))

    @property
    def _num_ready(self) -> int:
        return sum(process.state == "ready" for process in self._processes.values())

    def _free(self, avoid: frozenset[str]) -> WorkerProcess | None:
        ready = [process for process in self._processes.values() if process.state == "ready"]
        if self._processes.keys() <= avoid:
            avoid = frozenset()
        return next((process for process in ready if process.place.worker not in avoid), None)

    def _start(self, place: Place) -> None:
        self._processes[place.worker] = WorkerProcess(self._spec, place, self._crew.process, self._patience_s)

    def _settle(self, process: WorkerProcess) -> list[Event]:
        """What the process has to say; one that is gone is replaced or given up."""
        events = process.poll()
        name = process.place.worker
        if any(event.kind == "done" for event in events):
            self._strikes[name] = 0
        if process.state == "gone":
            process.stop(0.0)
            self._strikes[name] += 1
            del self._processes[name]
            if not (process.is_unfit or self._is_draining or self._strikes[name] >= STRIKES):
                self._start(process.place)
            else:
                events += self._give_up(process)
        return events

    def _give_up(self, process: WorkerProcess) -> list[Event]:
        assert process.failure is not None
        failure, words = process.failure, process.child.last_words()
        if self._error is None and process.is_unfit and failure.verdict == "fatal":
            self._error = failure.as_error()
        elif self._error is None and not self._processes:
            what = f"no worker is left, the last one: {failure.line.rstrip('.')}"
            self._error = StageFailed(what, stage="chunks", remedy="--debug shows the end of its log.")
        if self._error is not None and words:
            self._error.add_note(f"log of worker {process.place.worker}:\n{words}")
        return [Event("lost", NO_TASK, process.place.worker, 0, error=failure.line, error_class=failure.class_name)]
