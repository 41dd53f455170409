"""The folder of a chunked job: finished parts, the journal that vouches for them, and a lock.

  lock                     held as long as the job runs
  journal.jsonl            header (identity), then "opened", "source", "done" and whatever the job notes
  chunk-000012.r1a2.part   chunk 12, made in the first run of the job by the second attempt

A file counts as a part only if the journal says so and its bytes are those that were written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from streamsr.chunks import lock
from streamsr.chunks.identity import SourceHash, refuse_other
from streamsr.chunks.journal import LINE_BEGIN, Journal, Record, read_journal, sync_folder, write_error
from streamsr.errors import ConfigError, SinkError
from streamsr.runtime.meters import pulse

JOURNAL = "journal.jsonl"
_PART = re.compile(r"chunk-\d{6,}\.r\d+a\d+\.part")
_LEFTOVER = re.compile(r"\.chunk-\d{6,}\.r\d+a\d+\.part\..*\.tmp")
_STRANGE = "Name another --work-dir: this folder has other things in it, and is left as it is."


@dataclass(frozen=True, slots=True)
class Done:
    """A finished chunk. `path` None: there is no picture in it, and no part. `facts` and `extra` as `mark_done` got
    them, as JSON gives them back."""

    path: Path | None
    facts: dict[str, Any] = field(repr=False)
    extra: dict[str, Any] = field(repr=False)


def known_sources(folder: Path) -> list[SourceHash]:
    """The sources that an earlier job in `folder` has hashed, for `hash_source`. [] where there is no such job."""
    try:
        records = read_journal(folder / JOURNAL)
        return [SourceHash(**record["source"]) for record in records if record["kind"] == "source"]
    except (ConfigError, SinkError, TypeError, KeyError):
        return []  # open_workdir says what is wrong with the folder


def open_workdir(
    folder: Path,
    identity: Mapping[str, Any],
    resume: bool | None = None,
    *,
    source: SourceHash | None = None,
    notice: Callable[[str], None],
) -> WorkDir:
    """The work dir at `folder`, made if need be, locked until the with-block ends.

    `identity`: plain JSON values, sections of keys. resume None: goes on where an earlier job of this identity was
    left; True: refuses to start anew; False: starts anew, and only then removes older work of any job of ours.
    `source` is noted for `known_sources`. `notice` is told what was found, removed or has to be made again.

    Raises ConfigError when another process works there, the folder holds something else or the work of another job,
    or `resume` finds none; SinkError when it cannot be written or the journal is damaged."""
    return WorkDir(folder, identity, resume, source, notice)


class WorkDir:
    """A context manager, see `open_workdir`. `.done`: finished chunks by number, each checked. `.is_resumed`."""

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        resume: bool | None,
        source: SourceHash | None,
        notice: Callable[[str], None],
    ) -> None:
        self.folder = folder
        self.done: dict[int, Done] = {}
        self._notice = notice
        self._journal: Journal | None = None
        _claim(folder, must_exist=bool(resume))
        self._lock = lock.FolderLock(folder)
        try:
            if resume is False:
                self._remove_old_work()
            self._journal = Journal(folder / JOURNAL)
            self.is_resumed = bool(self._journal.records)
            if self.is_resumed:
                refuse_other(self._journal.records[0]["identity"], identity, folder)
            elif resume:
                raise _nothing_to_resume(folder)
            else:
                self._journal.append_header(identity=identity)
            self._run = 1 + len(self.notes("opened"))
            self.note("opened", run=self._run)
            if source is not None and source not in known_sources(folder):
                self.note("source", source=asdict(source))
            self._take_stock()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> WorkDir:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._journal is not None:
            self._journal.close()
        self._lock.close()

    def part_path(self, index: int, attempt: int) -> Path:
        """Where attempt `attempt` at chunk `index` puts its part. No other attempt of any run has the same."""
        return self.folder / f"chunk-{index:06}.r{self._run}a{attempt}.part"

    def mark_done(
        self, index: int, path: Path | None, facts: Mapping[str, Any], extra: Mapping[str, Any] | None = None
    ) -> None:
        """Chunk `index` is finished: its part lies at `path`, a `part_path`, with the `num_bytes` and `sha256` that
        `facts` tell. path None: the chunk has no pictures. On the disk when this returns. Raises SinkError."""
        assert path is None or {"num_bytes", "sha256"} <= facts.keys(), "facts that say what the file holds"
        name = None if path is None else path.name
        record = self.note("done", chunk=index, part=name, facts=dict(facts), extra=dict(extra or {}))
        self.done[index] = Done(path, record["facts"], record["extra"])

    def note(self, kind: str, **facts: Any) -> Record:
        """Puts plain JSON values into the journal. Raises SinkError."""
        assert self._journal is not None
        return self._journal.append(kind, **facts)

    def notes(self, kind: str) -> list[Record]:
        """All records of `kind`, those of earlier runs too, in the order of writing."""
        assert self._journal is not None
        return [record for record in self._journal.records if record["kind"] == kind]

    def remove(self) -> None:
        """The job is finished: removes what this and earlier runs wrote, then the folder if nothing else is in it."""
        assert self._journal is not None
        self._journal.close()
        self._remove_files()
        try:
            (self.folder / JOURNAL).unlink(missing_ok=True)
            self._lock.remove()
        except OSError as error:
            raise write_error(error, self.folder) from error
        with suppress(OSError):  # other things are in it, which are not ours
            self.folder.rmdir()
            sync_folder(self.folder.parent)

    def _remove_old_work(self) -> None:
        parts = self._remove_files()
        had_journal = (self.folder / JOURNAL).exists()
        (self.folder / JOURNAL).unlink(missing_ok=True)
        sync_folder(self.folder)
        if had_journal:
            self._notice(f"starting anew: {parts} finished parts of earlier work were removed from {self.folder}")

    def _remove_files(self, keep: frozenset[str] = frozenset()) -> int:
        """Parts and temporary files of ours that are not in `keep`. How many of them were parts."""
        removed = 0
        try:
            for path in sorted(self.folder.iterdir()):
                is_part = _PART.fullmatch(path.name) is not None
                if (is_part or _LEFTOVER.fullmatch(path.name)) and path.name not in keep:
                    path.unlink(missing_ok=True)
                    removed += is_part
        except OSError as error:
            raise write_error(error, self.folder) from error
        return removed

    def _take_stock(self) -> None:
        """Fills `done`: the last record of each chunk counts."""
        for record in self.notes("done"):
            path = None if record["part"] is None else self.folder / record["part"]
            self.done[record["chunk"]] = Done(path, record["facts"], record["extra"])
        for index, entry in sorted(self.done.items()):
            if entry.path is not None and (trouble := _trouble_with(entry.path, entry.facts)):
                self._notice(f"chunk {index} is made again: its part {entry.path.name} {trouble}")
                del self.done[index]
        self._remove_files(keep=frozenset(entry.path.name for entry in self.done.values() if entry.path))
        if self.is_resumed:
            self._notice(f"resuming: {len(self.done)} finished chunks are in {self.folder}")


def _claim(folder: Path, *, must_exist: bool) -> None:
    """Makes the folder, or makes sure that it is one of ours. Touches nothing else."""
    journal = folder / JOURNAL
    try:
        if must_exist and not journal.exists():
            raise _nothing_to_resume(folder)
        folder.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir()}
        if JOURNAL in names:
            with open(journal, "rb") as file:
                begin = file.read(len(LINE_BEGIN))
            is_ours = LINE_BEGIN.startswith(begin) and (begin or names <= {JOURNAL, lock.NAME})
        else:
            is_ours = names <= {lock.NAME}
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ConfigError(
            "not a folder for a work dir", where=str(folder), remedy="Name another --work-dir."
        ) from error
    except OSError as error:
        raise write_error(error, folder) from error
    if not is_ours:
        raise ConfigError("not the work dir of a job", where=str(folder), remedy=_STRANGE)


def _nothing_to_resume(folder: Path) -> ConfigError:
    remedy = "Leave --resume away to start, or name the right --work-dir."
    return ConfigError("there is nothing to resume", where=str(folder), remedy=remedy)


def _trouble_with(path: Path, facts: Mapping[str, Any]) -> str:
    """Why the file is not the part that was written, "" if it is."""
    try:
        if path.stat().st_size != facts["num_bytes"]:
            return f"has {path.stat().st_size} bytes, not {facts['num_bytes']}"
        with open(path, "rb") as file:
            pulse()
            is_same = hashlib.file_digest(file, "sha256").hexdigest() == facts["sha256"]
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if is_same else "has other bytes than were written"
