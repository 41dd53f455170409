"""A progress bar on a terminal, one row, with notices above it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath
from typing import Self, TextIO

from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text

from streamsr.display.words import frames_text, printable, size_text, time_text
from streamsr.report import Progress, Report


class Bar:
    """Frames, speed, time left, slowest stage and memory, drawn anew at each `progress`: no thread of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, emoji=False, markup=False, soft_wrap=False)
        self._live: Live | None = None
        self._width = self._height = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._clear()

    def progress(self, now: Progress) -> None:
        shown = replace(now, file=self._shown(PurePath(now.file).name))
        self._draw(lambda width, _: bar_row(shown, width))

    def _draw(self, table_for: Callable[[int, int], Table]) -> None:
        """Draws the table that `table_for` gives for a terminal of that width and height, over the one before. None of
        its rows may be wider than the terminal."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            width = self._console.width
            table = table_for(width, self._console.height)
            if self._live is not None and width < self._width:
                # The terminal has wrapped each old row onto several; the lowest are erased by the next drawing.
                wrapped = self._height * (-(-(self._width - 1) // width) - 1)
                erase = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)) * wrapped
                self._console.control(Control(*erase))
            self._width, self._height = width, table.row_count
            if self._live is None:
                self._live = Live(table, console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(table, refresh=True)

    def notice(self, text: str) -> None:
        self._say(Text(self._shown(text), style="yellow"))

    def done(self, report: Report) -> None:
        with self._lock:
            self._clear()
        self._say(Text(self._shown(report.summary), style="green"))

    def failed(self, file: str, message: str, exit_code: int, details: str = "") -> None:
        with self._lock:
            self._clear()
        for line in details.splitlines():
            self._say(Text(self._shown(line), style="dim"))
        self._say(Text("error: ", style="bold red").append(self._shown(message), style="not bold default"))

    def _say(self, line: Text) -> None:
        # A closed terminal must not end the job, hence the suppression here and in `progress`.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._console.print(line, soft_wrap=True)

    def _shown(self, text: str) -> str:
        """`text` as this terminal can show it."""
        encoding = self._console.encoding
        return printable(text).encode(encoding, "backslashreplace").decode(encoding)

    def _clear(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._live is not None:
                self._live.stop()
        self._live = None


def bar_row(now: Progress, width: int) -> Table:
    """One row for a terminal `width` columns wide: below 80 the memory goes, below 60 the slowest stage too."""
    name, room = PurePath(now.file).name, max(8, min(24, width * 3 // 10))
    if len(name) > room:
        name = f"{name[: room // 2 - 1]}...{name[-(room // 2 - 2) :]}"
    bar = ProgressBar(total=now.total or None, completed=min(now.frames, now.total or 0), width=None)
    cells: list[Text | ProgressBar] = [
        Text(name),
        bar,
        Text(frames_text(now)),
        Text(f"{now.fps:.1f} fps", style="cyan"),
    ]
    cells.append(Text(f"ETA {time_text(now.eta_s)}"))
    if width >= 60:
        cells.append(Text(printable(now.slowest), style="magenta"))
    if width >= 80:
        cells.append(Text(size_text(now.memory_bytes)))
    # The last column stays free: a full row would wrap when the terminal is made narrower.
    grid = Table.grid(padding=(0, 1), expand=True)
    for cell in cells:
        grid.add_column(no_wrap=True, overflow="crop", ratio=1 if isinstance(cell, ProgressBar) else None)
    grid.add_row(*cells)
    grid.width = max(width - 1, 1)
    return grid
