"""What many workers would do, computed and not measured: measured chunk times are replayed by the real scheduler over
workers that exist in a clock only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from streamsr.chunks.executor import Event, Task
from streamsr.chunks.schedule import run_tasks
from streamsr.runtime.gate import Gate

Wall = Literal["computing", "longest chunk", "storage", "joining"]

_BUSY_STORAGE, _LONG_TAIL = 0.9, 1.5
"""From these on storage, and chunks too few or too unequal, count as what holds the work up."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One chunk as it was: `seconds` of work on a worker of speed 1, and the bytes that pass through the common storage
    for it, of the source and of the part."""

    seconds: float
    source_bytes: int
    part_bytes: int


@dataclass(frozen=True, slots=True)
class Conditions:
    """`plan_s` and `start_s`: before the first chunk, once and per worker. Rates in bytes per second: of the storage
    for all workers together, and of the join (one process, which reads the parts and writes the film)."""

    plan_s: float
    start_s: float
    storage_rate: float
    join_rate: float


@dataclass(frozen=True, slots=True)
class Simulation:
    """`wall_s` = plan_s + work_s + join_s, from command to film. `utilisation`: share of the workers' time, from
    command to film, in which they compute. `speedup` against one worker of speed 1. `wall`: what holds the job up: the
    workers themselves, the last chunk while others wait, the storage, or what one process does before and after."""

    workers: int
    wall_s: float
    plan_s: float
    work_s: float
    join_s: float
    utilisation: float
    speedup: float
    wall: Wall


def simulate(chunks: Sequence[Measured], speeds: Sequence[float], conditions: Conditions) -> Simulation:
    """A job of `chunks` on one worker per entry of `speeds` (1: as fast as the one that was measured). Raises
    ValueError without chunks or workers."""
    if not chunks or not speeds:
        raise ValueError("a simulation needs chunks and workers")
    total_s = sum(chunk.seconds for chunk in chunks)
    total_bytes = sum(chunk.source_bytes + chunk.part_bytes for chunk in chunks)
    part_bytes = sum(chunk.part_bytes for chunk in chunks)
    executor = _Clockwork(chunks, speeds, conditions)
    for _ in run_tasks(executor, [Task(n, None, chunk.seconds) for n, chunk in enumerate(chunks)], gate=Gate()):
        pass  # the clock is what counts
    work_s = executor.clock
    join_s = part_bytes / min(conditions.join_rate, conditions.storage_rate / 2)
    wall_s = conditions.plan_s + work_s + join_s
    alone_s = conditions.plan_s + conditions.start_s + total_s + join_s
    ideal_s = conditions.start_s + total_s / sum(speeds)
    wall: Wall = "computing"
    if join_s + conditions.plan_s > wall_s / 2:
        wall = "joining"
    elif total_bytes / conditions.storage_rate > _BUSY_STORAGE * work_s:
        wall = "storage"
    elif work_s > _LONG_TAIL * ideal_s:
        wall = "longest chunk"
    utilisation = executor.computed_s / (len(speeds) * wall_s)
    facts = (wall_s, conditions.plan_s, work_s, join_s, utilisation, alone_s / wall_s)
    return Simulation(len(speeds), *facts, wall)


def unequal(count: int, spread: float = 0.3) -> tuple[float, ...]:
    """`count` speeds around 1, the slowest 1 - spread, the fastest 1 + spread, evenly between."""
    if count == 1:
        return (1.0,)
    return tuple(1 - spread + 2 * spread * n / (count - 1) for n in range(count))


def first_wall(runs: Sequence[Simulation]) -> Simulation | None:
    """The first of the runs, in order of their workers, that joining or storage holds up; None where none is."""
    by_workers = sorted(runs, key=lambda run: run.workers)
    return next((run for run in by_workers if run.wall in ("joining", "storage")), None)


@dataclass(slots=True)
class _Running:
    """A chunk under way: seconds of work and bytes of traffic that are left; they go on beside each other."""

    key: int
    worker: int
    compute_s: float
    num_bytes: float


class _Clockwork:
    """An Executor whose `events` moves the clock to the next end of a chunk. The storage's rate is shared equally by
    the chunks that have traffic left."""

    is_draining = False

    def __init__(self, chunks: Sequence[Measured], speeds: Sequence[float], conditions: Conditions) -> None:
        self._chunks, self._speeds, self._conditions = chunks, speeds, conditions
        self._free = sorted(range(len(speeds)), key=lambda n: speeds[n])  # the fastest is taken first, from the end
        self._running: list[_Running] = []
        self._pending: list[Event] = []
        self.clock = conditions.start_s
        self.computed_s = 0.0

    def __enter__(self) -> _Clockwork:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to end."""

    def workers(self) -> tuple[str, ...]:
        return tuple(map(str, range(len(self._speeds))))

    def idle(self, avoid: frozenset[str] = frozenset()) -> bool:
        return bool(self._free)

    def submit(self, task: Task, attempt: int, avoid: frozenset[str]) -> None:
        worker, chunk = self._free.pop(), self._chunks[task.key]
        compute_s = chunk.seconds / self._speeds[worker]
        self.computed_s += compute_s
        self._running.append(_Running(task.key, worker, compute_s, chunk.source_bytes + chunk.part_bytes))
        self._pending.append(Event("started", task.key, str(worker), attempt))

    def drain(self) -> None:
        """Nobody stops a simulation."""

    def events(self, timeout_s: float) -> list[Event]:
        events, self._pending = self._pending, []
        while not events and self._running:
            self._step()
            for running in [running for running in self._running if running.compute_s + running.num_bytes <= 1e-6]:
                self._running.remove(running)
                self._free.append(running.worker)
                events.append(Event("done", running.key, str(running.worker), 1))
        return events

    def _step(self) -> None:
        """To the next moment at which one has computed or transferred all of its own."""
        moving = sum(running.num_bytes > 0 for running in self._running)
        rate = self._conditions.storage_rate / max(1, moving)
        ends = [running.compute_s for running in self._running if running.compute_s > 0]
        ends += [running.num_bytes / rate for running in self._running if running.num_bytes > 0]
        step_s = min(ends, default=0.0)
        self.clock += step_s
        for running in self._running:
            running.compute_s = _less(running.compute_s, step_s)
            running.num_bytes = _less(running.num_bytes, step_s * rate)


def _less(left: float, done: float) -> float:
    rest = left - done
    return rest if rest > 1e-9 * left else 0.0
