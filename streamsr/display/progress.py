"""How a job is shown while it runs: the choice among a bar, plain lines, JSON lines and nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, TextIO

from streamsr.config import Progress as Kind
from streamsr.display.lines import JsonLines, Plain, Silent
from streamsr.report import Watcher


class Display(Watcher, AbstractContextManager["Display"], Protocol):
    """A watcher with an end (the with-block restores the terminal) and a word for failure. Never raises."""

    def failed(self, file: str, message: str, exit_code: int, details: str = "") -> None:
        """`file` failed with this one-line message; `details` is a traceback, empty without --debug."""


def open_display(kind: Kind, out: TextIO, err: TextIO) -> Display:
    """JSON lines go to `out`, everything for people to `err`. auto: a bar where `err` is a terminal, else lines."""
    if kind == "auto":
        kind = "bar" if err.isatty() else "auto"
    if kind == "bar":
        # rich takes 50 ms to import and the other displays do not need it.
        from streamsr.display.bar import Bar

        return Bar(err)
    if kind == "json":
        return JsonLines(out, err)
    return Silent(err) if kind == "none" else Plain(err)
