"""What a running job tells its watcher, and what it says about itself when it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a running job. `frames` are those already in the output file; `total` is the best estimate, None
    when the file gives no hint. `slowest` names the stage that the others wait for."""

    file: str
    frames: int
    total: int | None
    fps: float
    eta_s: float | None
    elapsed_s: float
    slowest: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on one finished file. `facts` is what `--report` writes: plain JSON values, see docs/report.md."""

    source: str
    target: str
    frames_in: int
    frames_out: int
    elapsed_s: float
    summary: str
    facts: dict[str, Any]


class Watcher(Protocol):
    """Who is told how a job goes. Implementations must not raise."""

    def notice(self, text: str) -> None:
        """One line a user should read: a choice that was made, something repaired or left out."""

    def progress(self, now: Progress) -> None:
        """Called a few times a second."""

    def done(self, report: Report) -> None:
        """A file is finished, verified and in place."""
