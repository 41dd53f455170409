"""The bar on a real terminal: a pseudo-terminal of known size, and what is left on its screen."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from rich.console import Console

from streamsr.display.bar import Bar, bar_row
from streamsr.report import Progress

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = r"""
import sys, time
from streamsr.display.progress import open_display
from streamsr.report import Progress, Report
with open_display("auto", sys.stdout, sys.stderr) as display:
    display.notice("first notice")
    for frame in range(0, 97, 8):
        name = "a_film_with_quite_a_long_name_\u6620.mp4"
        display.progress(Progress(name, frame, 96, 12.3, 4.0, 1.0, "upscale[0]", 812e6))
        if frame == 48:
            display.notice("second notice, " + "which is longer than the terminal is wide " * 3)
    display.done(Report("a", "b", 96, 96, 8.0, "b: all 96 frames", {}))
    display.failed("c", "it broke (c)", 3)
"""


def output_on_terminal(program: str, columns: int, **environment: str) -> str:
    """What the program writes to a terminal of `columns` columns and 24 rows."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    names = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=ROOT,
        env={**names, "TERM": "xterm-256color", **environment},
    )
    os.close(slave)
    seen = b""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the last holder of the other end has left
            break
        if not piece:
            break
        seen += piece
    os.close(master)
    assert child.wait(10) == 0, seen.decode(errors="replace")
    return seen.decode(errors="replace")


def screen(written: str) -> list[str]:
    """The rows that stay: the cursor's moves that rich makes (up, erase line, return) carried out."""
    rows, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", written):
        if token == "\n":
            row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
        elif token == "\r":
            column = 0
        elif match := re.fullmatch(r"\x1b\[(\d*)A", token):
            row = max(0, row - int(match[1] or 1))
        elif token == "\x1b[2K":
            rows[row] = ""
        elif not token.startswith("\x1b"):
            rows[row] = rows[row][:column].ljust(column) + token + rows[row][column + len(token) :]
            column += len(token)
    return [text.rstrip() for text in rows]


@pytest.mark.parametrize("columns", [80, 50])
def test_notices_stay_above_and_the_bar_leaves(columns: int) -> None:
    written = output_on_terminal(PROGRAM, columns)
    left = [line for line in screen(written) if line]
    assert left[0] == "first notice"
    assert left[1].startswith("second notice, which is longer")
    assert left[-2:] == ["b: all 96 frames", "error: it broke (c)"]
    assert len(left) == 4, left
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert "96/96" in drawn
    assert "12.3 fps" in drawn
    assert ("upscale[0]" in drawn) == (columns >= 60)
    assert ("812 MB" in drawn) == (columns >= 80)
    bars = [line for line in re.split(r"[\r\n]", drawn) if " fps" in line]
    assert all(len(line) < columns for line in bars), "a full row would wrap when the terminal shrinks"
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") > 0, "the cursor comes back"


def test_a_terminal_without_utf8() -> None:
    written = output_on_terminal(PROGRAM, 80, PYTHONIOENCODING="ascii:strict", LC_ALL="C", PYTHONUTF8="0")
    assert written.isascii()
    assert screen(written)[-2:] == ["error: it broke (c)", ""]


def test_a_terminal_that_is_gone_never_raises() -> None:
    gone = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    now = Progress("f.mp4", 1, 2, 1.0, 1.0, 1.0, "decode", 1)
    with Bar(gone) as display:
        display.progress(now)
        gone.close()
        display.progress(now)
        display.notice("x")
        display.failed("f.mp4", "y", 1)


@pytest.mark.parametrize("width", [20, 59, 60, 79, 80, 200])
@pytest.mark.parametrize("total", [None, 1000])
def test_one_row_at_any_width(width: int, total: int | None) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    with console.capture() as drawn:
        console.print(bar_row(Progress("x" * 300, 999, total, 12.3, None, 1.0, "upscale[0]", 10**9), width))
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.get()).splitlines()
    assert len(lines) == 1
    assert len(lines[0]) < width
