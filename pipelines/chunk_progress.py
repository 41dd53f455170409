"""What a chunked job looks like while it runs, and what its workers did: made from the executor's events."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelines.chunk import ChunkDone
from pipelines.watching import INTERVAL_S, Speed
from streamsr.chunks.executor import NO_TASK, Event
from streamsr.chunks.plan import Chunk
from streamsr.display.workers import WorkerRow, WorkersProgress
from streamsr.frames import Packet
from streamsr.report import Watcher


class ChunkWatcher(Watcher, Protocol):
    """Who is told how a chunked job goes: a `WorkersDisplay`, for one. Must not raise."""

    def workers(self, now: WorkersProgress) -> None:
        """Called a few times a second."""


@dataclass(slots=True)
class Tally:
    """What one worker did. `busy_s`: on its tasks, those that failed too."""

    chunks: int = 0
    frames: int = 0
    failures: int = 0
    busy_s: float = 0.0


@dataclass(slots=True)
class _Flight:
    """A chunk that a worker has."""

    worker: str
    attempt: int
    begun: float
    frames: int = 0


class ChunkProgress:
    """Tells the watcher, of frames at most every INTERVAL_S, and keeps count. `retries`: lost and failed attempts.
    `workers`: by name, those that did anything."""

    def __init__(self, file: str, chunks: Sequence[Chunk], finished: Mapping[int, int], watcher: ChunkWatcher) -> None:
        """`finished`: chunk -> frames of what is done already."""
        self._file, self._watcher = file, watcher
        self._expected = {chunk.index: chunk.frames for chunk in chunks} | dict(finished)
        self._done = dict(finished)
        self._flights: dict[int, _Flight] = {}
        self._started = time.monotonic()
        self._told_at = 0.0
        self._speed = Speed(self.frames)
        self.retries = 0
        self.workers: dict[str, Tally] = {}

    @property
    def frames(self) -> int:
        """Finished, or encoded in chunks under way."""
        return sum(self._done.values()) + sum(flight.frames for flight in self._flights.values())

    def see(self, event: Event, names: Sequence[str]) -> None:
        """Takes note of one event. `names`: the workers there are now. Failures are told at once."""
        if event.key == NO_TASK:
            self._watcher.notice(f"{event.worker} is given up: {event.error}")
            return
        tally = self.workers.setdefault(event.worker, Tally())
        match event.kind:
            case "started":
                self._flights[event.key] = _Flight(event.worker, event.attempt, time.monotonic())
            case "progress":
                self._flights[event.key].frames = event.frames
            case "done":
                result: ChunkDone = event.result
                tally.busy_s += self._land(event)
                tally.chunks += 1
                tally.frames += result.decoded.frames
                self._done[event.key] = self._expected[event.key] = result.decoded.frames
            case "failed" | "lost":
                tally.busy_s += self._land(event)
                tally.failures += 1
                self.retries += 1
                self._watcher.notice(f"chunk {event.key}, attempt {event.attempt} on {event.worker}: {event.error}")
        if event.kind != "progress" or time.monotonic() - self._told_at >= INTERVAL_S:
            self.tell("working", names)

    def joining(self, packets: Iterator[Packet]) -> Iterator[Packet]:
        """The packets of the film, unchanged, counted on their way into the target."""
        self._done, self._speed = {0: 0}, Speed()
        for packet in packets:
            yield packet
            self._done[0] += 1
            if time.monotonic() - self._told_at >= INTERVAL_S:
                self.tell("joining")
        self.tell("joining")

    def tell(self, phase: str, names: Sequence[str] = ()) -> None:
        """Tells the watcher how things stand."""
        self._told_at = now = time.monotonic()
        frames, total = self.frames, sum(self._expected.values())
        total = max(total, frames)
        fps = self._speed.note(frames)
        self._watcher.workers(
            WorkersProgress(
                file=self._file,
                phase=phase,
                workers=self._rows(names, now),
                frames=frames,
                total=total,
                chunks_done=len(self._expected) if phase == "joining" else len(self._done),
                chunks_total=len(self._expected),
                fps=fps,
                eta_s=(total - frames) / fps if fps > 0 else None,
                elapsed_s=now - self._started,
                retries=self.retries,
            )
        )

    def _land(self, event: Event) -> float:
        """Seconds that the attempt took."""
        flight = self._flights.pop(event.key)
        return event.seconds or time.monotonic() - flight.begun

    def _rows(self, names: Sequence[str], now: float) -> tuple[WorkerRow, ...]:
        has = {flight.worker: (key, flight) for key, flight in self._flights.items()}
        rows = []
        for name in sorted({*names, *has}):
            device = name.rpartition("/")[0] or name.rpartition("-")[0]
            if name not in has:
                rows.append(WorkerRow(name, device))
                continue
            key, flight = has[name]
            fps = flight.frames / max(now - flight.begun, 1e-3)
            rows.append(WorkerRow(name, device, key, flight.frames, self._expected[key], fps, flight.attempt))
        return tuple(rows)
