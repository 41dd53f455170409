"""Several files, one after the other: finished ones are skipped, and one that fails does not stop the rest."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipelines.outcome import outcome_of
from pipelines.reports import ReportFile
from streamsr.errors import Interrupted, SomeFailed, StreamSRError
from streamsr.report import Report

if TYPE_CHECKING:  # the displays import pydantic, which `--help` does without
    from streamsr.display.progress import Display

Work = Callable[[Path, Path], Report]
"""Makes one target of one source. Raises for failure and for a stop."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file to make, or the reason why it cannot be."""

    source: Path
    target: Path
    problem: StreamSRError | None = None


class Entries(Protocol):
    """What to do, in order. `total` may grow while it is gone through. `is_alone`: one file, named as such."""

    @property
    def total(self) -> int: ...

    @property
    def is_alone(self) -> bool: ...

    def __iter__(self) -> Iterator[Entry]: ...


class Listed:
    """The files that the command line names."""

    def __init__(self, pairs: Iterable[tuple[Path, Path]]) -> None:
        self._entries: Sequence[Entry] = [Entry(source, target) for source, target in pairs]

    @property
    def total(self) -> int:
        return len(self._entries)

    @property
    def is_alone(self) -> bool:
        return self.total == 1

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)


def work_through(
    entries: Entries, work: Work, display: Display, reports: ReportFile, *, overwrite: bool, debug: bool, done: str
) -> int:
    """Calls `work` for each entry whose target is not there yet, and shows what fails. `done`: the word for a success
    in the last line, as "upscaled". Returns the exit code: that of the one file, or SomeFailed's of several."""
    counts = {done: 0, "skipped": 0, "failed": 0}
    for number, entry in enumerate(entries, start=1):
        source, target = entry.source, entry.target
        if not entries.is_alone:
            place = f"[{number}/{entries.total}]"
            if entry.problem is None and target.exists() and not overwrite:
                display.notice(f"{place} {source.name}: finished already, skipped ({target})")
                counts["skipped"] += 1
                continue
            display.notice(f"{place} {source} -> {target}")
        code, is_stopped = _try(entry, work, display, reports, debug=debug)
        if entries.is_alone:
            return code
        counts["failed" if code else done] += 1
        if is_stopped:
            if target.exists() and code == 0:
                # Under its own name it would be taken for finished, and skipped, the next time.
                display.notice(f"{target.name} is not whole: kept as {target.replace(_stopped_name(target)).name}")
            display.notice(f"stopped: {entries.total - number} of {entries.total} files were not begun")
            return Interrupted.exit_code
    display.notice(", ".join(f"{count} {what}" for what, count in counts.items()) + f" of {entries.total} files")
    return SomeFailed.exit_code if counts["failed"] else 0


def _try(entry: Entry, work: Work, display: Display, reports: ReportFile, *, debug: bool) -> tuple[int, bool]:
    """(exit code, whether the user stopped it). A failure is shown, not raised: the next file must have its turn."""
    try:
        if entry.problem is not None:
            raise entry.problem
        report = work(entry.source, entry.target)
        reports.add(report)
    except (Exception, KeyboardInterrupt) as error:
        code, line = outcome_of(error)
        display.failed(str(entry.source), line, code, traceback.format_exc() if debug else "")
        return code, code == Interrupted.exit_code
    return 0, bool(report.facts["timing"]["stopped_early"])


def _stopped_name(target: Path) -> Path:
    return target.with_name(f"{target.stem}.stopped{target.suffix}")
