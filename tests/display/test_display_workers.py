"""A chunked job on a terminal, in a log and for machines."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from streamsr.display.workers import WorkerRow, WorkersPlain, WorkersProgress, open_workers_display, workers_line
from streamsr.display.workers_bar import COLUMNS, WorkersBar, workers_table
from tests.display.test_display_bar import output_on_terminal, screen
from tests.display.test_display_lines import Terminal

ROWS = (
    WorkerRow("gpu0.1", "cuda:0", 12, 120, 240, 23.4),
    WorkerRow("gpu1.1", "cuda:1", 3, 9, 240, 3.4, attempt=2),
    WorkerRow("gpu2.1", "cuda:2"),
)
NOW = WorkersProgress("film.mp4", "working", ROWS, 1234, 9999, 5, 40, 26.8, 327.0, 46.0, retries=2)
LINE = "film.mp4: working, 5/40 chunks, 1234/9999 frames (12 %), 26.8 fps, ETA 5:27, 2 of 3 workers busy, 2 retries"
PROGRAM = r"""
import sys
from dataclasses import replace
from streamsr.display.workers import open_workers_display
from streamsr.report import Report
from tests.display.test_display_workers import NOW
with open_workers_display("auto", sys.stdout, sys.stderr) as display:
    display.notice("first notice")
    for frames in range(0, 9999, 1111):
        display.workers(replace(NOW, frames=frames, workers=NOW.workers * (1 + frames // 5000)))
        if frames == 4444:
            display.notice("second notice, " + "which is longer than the terminal is wide " * 3)
    display.workers(replace(NOW, phase="joining", workers=()))
    display.done(Report("a", "b", 96, 96, 8.0, "b: all 96 frames", {}))
"""


def drawn(now: WorkersProgress, width: int, height: int = 24) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        console.print(workers_table(now, width, height))
    return captured.get().splitlines()


@pytest.mark.parametrize("columns", [120, 80, 60, 40, 24])
def test_one_row_per_worker_and_the_job(columns: int) -> None:
    written = output_on_terminal(PROGRAM, columns)
    left = [line for line in screen(written) if line]
    assert left[0] == "first notice"
    assert left[-1] == "b: all 96 frames"
    assert len(left) == 3, left
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert "#12" in shown
    assert "attempt 2" in shown
    assert "idle" in shown
    assert "5/40" in shown
    assert ("7777/9999" in shown) == (columns >= 60)
    assert ("cuda:1" in shown) == ("joining" in shown) == ("2 retries" in shown) == (columns >= 100)
    assert all(len(line) < columns for line in re.split(r"[\r\n]+", shown) if "5/40" in line)
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") > 0, "the cursor comes back"


@pytest.mark.parametrize("width", range(8, 130))
def test_rows_never_fill_the_terminal(width: int) -> None:
    long = replace(NOW, file="a_long_name_" * 9 + ".mp4", workers=(*ROWS, replace(ROWS[0], name="worker" * 9)))
    lines = drawn(long, width)
    assert len(lines) == 5
    assert all(len(line) < width for line in lines)


@pytest.mark.parametrize(("least", "names"), COLUMNS)
def test_what_a_width_shows_is_complete(least: int, names: tuple[str, ...]) -> None:
    if not least:
        least = 20
    text = "\n".join(drawn(NOW, least))
    for name, value in {"chunk": "5/40", "frames": "1234/9999", "fps": "26.8 fps", "left": "ETA 5:27"}.items():
        assert (value in text) == (name in names)


@pytest.mark.parametrize("height", [1, 2, 3, 5, 24])
def test_more_workers_than_rows(height: int) -> None:
    """One row stays free for the cursor, and the job's own row is always there."""
    lines = drawn(replace(NOW, workers=ROWS * 20), 80, height)
    assert len(lines) == max(height - 1, 1)
    assert "5/40" in lines[-1]
    if height >= 3:
        assert f"{60 - (height - 3)} more" in lines[-2]


def test_control_characters_do_not_reach_the_terminal() -> None:
    terminal = Terminal()
    with WorkersBar(terminal) as display:
        display.workers(replace(NOW, file="a\x1b[2Jb\n.mp4", workers=(replace(ROWS[0], name="x\x07\r"),)))
    assert "\x1b[2J" not in terminal.getvalue()
    assert "\x07" not in terminal.getvalue()


def test_a_terminal_that_is_gone_never_raises() -> None:
    gone = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with WorkersBar(gone) as display:
        display.workers(NOW)
        gone.close()
        display.workers(NOW)


def test_the_choice_of_display() -> None:
    out, err = io.StringIO(), io.StringIO()
    assert type(open_workers_display("auto", out, err)).__name__ == "WorkersPlain"
    assert type(open_workers_display("auto", out, Terminal())).__name__ == "WorkersBar"
    assert type(open_workers_display("bar", out, err)).__name__ == "WorkersBar"
    with open_workers_display("none", out, Terminal()) as display:
        display.workers(NOW)
    assert (out.getvalue(), err.getvalue()) == ("", "")


def test_lines_come_now_and_then() -> None:
    clock = iter([0.0, 9.9, 10.0, 10.0, 10.1])
    err = io.StringIO()
    with WorkersPlain(err, every_s=10, clock=lambda: next(clock)) as display:
        for _ in range(3):
            display.workers(NOW)
    assert err.getvalue().splitlines() == [LINE]
    assert workers_line(replace(NOW, retries=0, total=0)).endswith(
        " 1234/0 frames, 26.8 fps, ETA 5:27, 2 of 3 workers busy"
    )


def test_machines_get_one_object_per_worker() -> None:
    out = io.StringIO()
    with open_workers_display("json", out, io.StringIO()) as display:
        display.workers(replace(NOW, eta_s=None))
    event = json.loads(out.getvalue())
    assert (event["event"], event["phase"], event["chunks_done"], event["eta_s"]) == ("workers", "working", 5, None)
    assert event["workers"][1] == {
        "name": "gpu1.1",
        "device": "cuda:1",
        "chunk": 3,
        "frames": 9,
        "expected": 240,
        "fps": 3.4,
        "attempt": 2,
    }
    assert event["workers"][2]["chunk"] is None
