"""One row per worker and one for the whole job, on a terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from typing import Literal

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from streamsr.display.bar import Bar
from streamsr.display.words import time_text
from streamsr.display.workers import WorkerRow, WorkersProgress

Cells = dict[str, Text | ProgressBar]
# What a row shows on a terminal of at least so many columns.
COLUMNS = (
    (100, ("name", "device", "chunk", "bar", "frames", "fps", "left", "remark")),
    (80, ("name", "chunk", "bar", "frames", "fps", "left")),
    (60, ("name", "chunk", "frames", "fps", "left")),
    (40, ("name", "chunk", "fps", "left")),
    (0, ("chunk", "left")),
)


class WorkersBar(Bar):
    """The rows of the workers above that of the job. As many of them as the terminal has room for."""

    def workers(self, now: WorkersProgress) -> None:
        rows = tuple(replace(row, name=self._shown(row.name), device=self._shown(row.device)) for row in now.workers)
        name = self._shown(PurePath(now.file).name)
        shown = replace(now, file=name, phase=self._shown(now.phase), workers=rows)
        self._draw(lambda width, height: workers_table(shown, width, height))


def workers_table(now: WorkersProgress, width: int, height: int) -> Table:
    """At most `height` - 1 rows, at least one: the last is that of the job. See COLUMNS for what has room."""
    room = max(height - 2, 0)
    num_shown = len(now.workers) if len(now.workers) <= room else max(room - 1, 0)
    name_room = max(6, width // 6)
    rows = [_worker_cells(row, name_room) for row in now.workers[:num_shown]]
    if num_shown < len(now.workers) and room:
        rows.append({"name": Text("..."), "chunk": Text(f"{len(now.workers) - num_shown} more")})
    rows.append(_job_cells(now, name_room))
    columns = next(names for least, names in COLUMNS if width >= least)
    # The last column stays free: a full row would wrap when the terminal is made narrower.
    table = Table.grid(padding=(0, 1), expand=True)
    table.width = max(width - 1, 1)
    elastic = "bar" if "bar" in columns else columns[-1]
    for name in columns:
        justify: Literal["left", "right"] = "right" if name in ("frames", "fps") else "left"
        table.add_column(no_wrap=True, overflow="crop", justify=justify, ratio=1 if name == elastic else None)
    for row in rows:
        table.add_row(*(row.get(name, Text()) for name in columns))
    return table


def _worker_cells(row: WorkerRow, room: int) -> Cells:
    cells: Cells = {"name": Text(_shortened(row.name, room)), "device": Text(_shortened(row.device, 10), style="dim")}
    if row.chunk is None:
        return cells | {"chunk": Text("idle", style="dim")}
    again = Text(f"attempt {row.attempt}" if row.attempt > 1 else "", style="yellow")
    return cells | {
        "chunk": Text(f"#{row.chunk}"),
        "bar": ProgressBar(total=row.expected or None, completed=min(row.frames, row.expected)),
        "frames": Text(f"{row.frames}/{row.expected}"),
        "fps": Text(f"{row.fps:.1f} fps", style="cyan"),
        "left": again,
    }


def _job_cells(now: WorkersProgress, room: int) -> Cells:
    return {
        "name": Text(_shortened(now.file, room), style="bold"),
        "device": Text(_shortened(now.phase, 10)),
        "chunk": Text(f"{now.chunks_done}/{now.chunks_total}"),
        "bar": ProgressBar(total=now.total or None, completed=min(now.frames, now.total)),
        "frames": Text(f"{now.frames}/{now.total}"),
        "fps": Text(f"{now.fps:.1f} fps", style="cyan"),
        "left": Text(f"ETA {time_text(now.eta_s)}"),
        "remark": Text(f"{now.retries} retries" if now.retries else "", style="yellow"),
    }


def _shortened(text: str, room: int) -> str:
    if len(text) <= room:
        return text
    return f"{text[: room // 2 - 1]}...{text[len(text) - (room // 2 - 2) :]}"
