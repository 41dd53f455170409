"""How a training run is shown: a bar on a terminal, else a line for every point of the log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from streamsr.display.lines import LineWriter
from streamsr.display.words import printable, time_text

if TYPE_CHECKING:
    from rich.progress import Progress

FILLING_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a training run. `losses` are means since the last moment; `step_s` is the mean time of a step in it,
    `waiting` the share of that time spent waiting for data."""

    step: int
    steps: int
    losses: Mapping[str, float]
    rate: float
    step_s: float
    waiting: float

    @property
    def eta_s(self) -> float:
        return (self.steps - self.step) * self.step_s


class TrainingDisplay(Protocol):
    """Who is told how a training goes. Never raises."""

    def notice(self, text: str) -> None:
        """One line a user should read."""

    def filling(self, done: int, total: int) -> None:
        """While a pool of pairs is filled."""

    def moment(self, now: Moment, is_logged: bool) -> None:
        """After every step, with the moment so far; `is_logged` at every point of the log."""


@contextmanager
def open_training_display(stream: TextIO, *, quiet: bool = False) -> Iterator[TrainingDisplay]:
    """For people, on `stream`. `quiet`: nothing at all, for all processes but the first."""
    if quiet:
        yield Quiet()
    elif not stream.isatty():
        yield Lines(stream)
    else:
        # rich takes 50 ms to import.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        console = Console(file=stream, highlight=False, emoji=False, markup=False)
        columns = (TextColumn("{task.completed}/{task.total}"), BarColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=console, auto_refresh=False) as bar:
            yield Rows(bar)


def words_of(now: Moment) -> str:
    """As "loss 0.0213 (l1 0.0150, edge 0.0063), rate 1.0e-04, 0.21 s a step (data 3 %), ETA 1:02:33"."""
    terms = ", ".join(f"{name} {value:.4g}" for name, value in now.losses.items() if name != "loss")
    loss = f"loss {now.losses.get('loss', float('nan')):.4g} ({terms})"
    return (
        f"{loss}, rate {now.rate:.1e}, {now.step_s:.3g} s a step (data {100 * now.waiting:.0f} %),"
        f" ETA {time_text(now.eta_s)}"
    )


class Quiet:
    """Says nothing."""

    def notice(self, text: str) -> None:
        return None

    def filling(self, done: int, total: int) -> None:
        return None

    def moment(self, now: Moment, is_logged: bool) -> None:
        return None


class Lines(Quiet):
    """Whole lines, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._lines, self._next_s = LineWriter(stream), 0.0

    def filling(self, done: int, total: int) -> None:
        if done == total or time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + FILLING_EVERY_S
            self._lines.write(f"pool: {done} of {total} pairs")

    def notice(self, text: str) -> None:
        self._lines.write(printable(text))

    def moment(self, now: Moment, is_logged: bool) -> None:
        if is_logged:
            self._lines.write(f"step {now.step}/{now.steps}: {words_of(now)}")


class Rows(Quiet):
    """A bar on a terminal, notices and points of the log above it."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._task = bar, bar.add_task("", total=None)

    def notice(self, text: str) -> None:
        self._bar.console.print(printable(text), style="yellow")

    def filling(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total, description="pairs into the pool")
        self._bar.refresh()

    def moment(self, now: Moment, is_logged: bool) -> None:
        self._bar.update(self._task, completed=now.step, total=now.steps, description=words_of(now))
        self._bar.refresh()
