"""How a chunked job is shown while it runs: what it tells, and the choice among the displays that can show it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol, Self, TextIO

from streamsr.config import Progress as Kind
from streamsr.display.lines import JsonLines, Plain, Silent
from streamsr.display.progress import Display
from streamsr.display.words import printable, time_text


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One worker. `chunk` None: it has nothing to do; else `frames` of `expected` are encoded, in attempt `attempt`
    (from 1). `fps`: pictures per second in this chunk."""

    name: str
    device: str
    chunk: int | None = None
    frames: int = 0
    expected: int = 0
    fps: float = 0.0
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class WorkersProgress:
    """A moment of a chunked job. `phase`: one word for what it does, as planning, working, joining. `frames` of
    `total` are finished or encoded in chunks under way; `retries`: attempts that failed or were lost."""

    file: str
    phase: str
    workers: tuple[WorkerRow, ...]
    frames: int
    total: int
    chunks_done: int
    chunks_total: int
    fps: float
    eta_s: float | None
    elapsed_s: float
    retries: int = 0


class WorkersDisplay(Display, Protocol):
    """A display of a chunked job. Never raises."""

    def __enter__(self) -> Self: ...

    def workers(self, now: WorkersProgress) -> None:
        """Called a few times a second."""


def open_workers_display(kind: Kind, out: TextIO, err: TextIO) -> WorkersDisplay:
    """As `open_display`: JSON lines go to `out`, everything for people to `err`. auto: rows where `err` is a terminal,
    else lines."""
    if kind == "bar" or (kind == "auto" and err.isatty()):
        from streamsr.display.workers_bar import WorkersBar  # rich takes 50 ms to import

        return WorkersBar(err)
    if kind == "json":
        return WorkersJson(out, err)
    return WorkersSilent(err) if kind == "none" else WorkersPlain(err)


class WorkersSilent(Silent):
    def workers(self, now: WorkersProgress) -> None:
        return None


class WorkersPlain(Plain):
    """One line now and then, for all workers together."""

    def workers(self, now: WorkersProgress) -> None:
        self.line_now_and_then(lambda: workers_line(now))


class WorkersJson(JsonLines):
    """The event is "workers"; its list `workers` has one object per worker."""

    def workers(self, now: WorkersProgress) -> None:
        self._event("workers", **dataclasses.asdict(now))


def workers_line(now: WorkersProgress) -> str:
    """The whole state as one line, for logs."""
    busy = sum(row.chunk is not None for row in now.workers)
    percent = f" ({100 * now.frames / now.total:.0f} %)" if now.total else ""
    retries = f", {now.retries} retries" if now.retries else ""
    return printable(
        f"{PurePath(now.file).name}: {now.phase}, {now.chunks_done}/{now.chunks_total} chunks,"
        f" {now.frames}/{now.total} frames{percent}, {now.fps:.1f} fps, ETA {time_text(now.eta_s)},"
        f" {busy} of {len(now.workers)} workers busy{retries}"
    )
