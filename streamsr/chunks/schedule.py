"""Which task goes to which worker when, and what happens when one fails. Knows nothing of video or processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from streamsr.chunks.executor import NO_TASK, Event, Executor, Failure, Task
from streamsr.errors import StageFailed, StreamSRError
from streamsr.runtime.gate import Gate

POLL_S = 0.5


@dataclass(slots=True)
class _Attempts:
    """A task on its way. `tried`: workers that had it and did not finish it."""

    task: Task
    count: int = 0
    is_in_flight: bool = False
    was_started: bool = False
    tried: set[str] = field(default_factory=set)


def run_tasks(executor: Executor, tasks: Iterable[Task], *, attempts: int = 3, gate: Gate) -> Iterator[Event]:
    """Does each of `tasks` once, the costliest first, and yields what happens: per attempt started, progress, done |
    failed | lost, in this order. The `executor` is inside its with-block.

    A task that fails or loses its worker goes to another one, where there is one. After `attempts`, and when the disk
    is full, nothing new is begun, the tasks in flight are finished, and StageFailed with the chunk's number or
    SinkError is raised. A fatal failure is raised at once. After `executor.drain()` it ends when the tasks in flight
    have ended; what is left was not "done". Raises what `executor.events` raises, Cancelled."""
    open_tasks = {task.key: _Attempts(task) for task in sorted(tasks, key=lambda task: (-task.cost, task.key))}
    assert NO_TASK not in open_tasks, "keys are not negative"
    error: StreamSRError | None = None
    is_fatal = False
    while open_tasks and not is_fatal:
        gate.check()
        if error is None and not executor.is_draining:
            _submit_all(executor, open_tasks)
        elif not any(entry.is_in_flight for entry in open_tasks.values()):
            break
        for event in executor.events(POLL_S):
            if event.key == NO_TASK:
                yield event
            elif _belongs(event, open_tasks):
                failure = _account(event, open_tasks, attempts)
                error = error or failure
                is_fatal |= event.verdict == "fatal"
                yield event
    if error is not None:
        raise error


def _submit_all(executor: Executor, open_tasks: dict[int, _Attempts]) -> None:
    """Hands out tasks as long as somebody is idle for one."""
    for entry in open_tasks.values():
        if not executor.idle():
            break
        avoid = frozenset(entry.tried)
        if not entry.is_in_flight and executor.idle(avoid):
            entry.count += 1
            entry.is_in_flight, entry.was_started = True, False
            executor.submit(entry.task, entry.count, avoid)


def _belongs(event: Event, open_tasks: dict[int, _Attempts]) -> bool:
    """False for the late news of an attempt that is over."""
    entry = open_tasks.get(event.key)
    if entry is None or not entry.is_in_flight or event.attempt != entry.count:
        return False
    assert event.kind == "started" or entry.was_started, f"{event.kind} before started: {event}"
    entry.was_started = True
    return True


def _account(event: Event, open_tasks: dict[int, _Attempts], attempts: int) -> StreamSRError | None:
    """Notes what the event means; the error that ends the job, if it does."""
    entry = open_tasks[event.key]
    match event.kind:
        case "done":
            del open_tasks[event.key]
        case "failed" | "lost":
            entry.is_in_flight = False
            entry.tried.add(event.worker)
            if event.verdict != "retry":
                return Failure(event.error, event.error_class, event.verdict).as_error()
            if entry.count >= attempts:
                what = f"chunk {event.key} failed {entry.count} times, at last: {event.error.rstrip('.')}"
                remedy = "What is finished is kept: run the same command again to go on."
                return StageFailed(what, stage="chunks", index=event.key, remedy=remedy)
    return None
