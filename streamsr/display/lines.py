"""Displays that write whole lines: for logs, for machines, and none."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable
from typing import Any, Self, TextIO

from streamsr.display.words import printable, progress_line
from streamsr.report import Progress, Report


class LineWriter:
    """Lines into `stream`, from any thread. A stream that is gone (a closed pipe) never fails the job."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def write(self, line: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        safe = line.encode(encoding, "backslashreplace").decode(encoding)
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(f"{safe}\n")
            self._stream.flush()


class Silent:
    """Nothing but errors."""

    def __init__(self, errors: TextIO) -> None:
        self._errors = LineWriter(errors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def notice(self, text: str) -> None:
        return None

    def progress(self, now: Progress) -> None:
        return None

    def done(self, report: Report) -> None:
        return None

    def failed(self, file: str, message: str, exit_code: int, details: str = "") -> None:
        for line in [*details.splitlines(), f"error: {message}"]:
            self._errors.write(printable(line))


class Plain(Silent):
    """A line for each notice and verdict, and one every `every_s` seconds in between."""

    def __init__(self, stream: TextIO, every_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._lines, self._every_s, self._clock = LineWriter(stream), every_s, clock
        self._next_s = clock() + every_s

    def notice(self, text: str) -> None:
        self._lines.write(printable(text))

    def progress(self, now: Progress) -> None:
        self.line_now_and_then(lambda: progress_line(now))

    def line_now_and_then(self, line: Callable[[], str]) -> None:
        """Writes `line()` if `every_s` seconds have passed since the last one."""
        if self._clock() >= self._next_s:
            self._next_s = self._clock() + self._every_s
            self._lines.write(line())

    def done(self, report: Report) -> None:
        self._lines.write(printable(report.summary))


class JsonLines(Silent):
    """One JSON object a line on `stream`, ASCII only; "event" is notice, progress, done or error (docs/upscale.md).
    Errors are also written on `errors` for people."""

    def __init__(self, stream: TextIO, errors: TextIO) -> None:
        super().__init__(errors)
        self._lines = LineWriter(stream)

    def _event(self, event: str, **values: Any) -> None:
        # NaN is not JSON: a measure that does not exist yet is null.
        plain = {key: None if isinstance(value, float) and value != value else value for key, value in values.items()}
        self._lines.write(json.dumps({"event": event, **plain}, default=str))

    def notice(self, text: str) -> None:
        self._event("notice", text=text)

    def progress(self, now: Progress) -> None:
        self._event("progress", **dataclasses.asdict(now))

    def done(self, report: Report) -> None:
        self._event("done", **dataclasses.asdict(report))

    def failed(self, file: str, message: str, exit_code: int, details: str = "") -> None:
        self._event("error", file=file, message=message, exit_code=exit_code)
        super().failed(file, message, exit_code, details)
