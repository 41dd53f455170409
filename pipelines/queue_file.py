"""A queue file: what to do next, one file a line, which may be edited while it is worked on.

# comments and empty lines are skipped
in/film.mp4 -> out/film_4k.mp4
in/season 1 -> out/season1/
in/other.mkv                       needs a folder as OUTPUT on the command line
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pipelines.files import plan_files
from pipelines.several import Entry
from streamsr.errors import ConfigError, SinkError, SourceError

ARROW = " -> "


class QueueFile:
    """The entries of the file at `path`, read anew before each one: lines may be added, moved and taken out meanwhile.
    It ends when no line is left that has not had its turn. Paths are relative to the current folder, as on the command
    line. `output`: the folder for lines that name none.

    A line that cannot be worked on becomes an entry with its `problem`. Raises ConfigError when the file cannot be
    read at the start; later, it is taken for empty."""

    def __init__(self, path: Path, output: str | None) -> None:
        self._path, self._output = path, output
        self._seen: set[tuple[str, str]] = set()
        self._num_waiting = 0
        try:
            self._text()
        except OSError as error:
            raise ConfigError(f"cannot read the queue: {error.strerror}", where=f"--queue {path}") from error

    @property
    def total(self) -> int:
        """Files that had their turn, and those that wait for it."""
        return len(self._seen) + self._num_waiting

    @property
    def is_alone(self) -> bool:
        return False

    def __iter__(self) -> Iterator[Entry]:
        while waiting := self._waiting():
            self._num_waiting = len(waiting) - 1
            self._seen.add(_key(waiting[0]))
            yield waiting[0]

    def _waiting(self) -> list[Entry]:
        try:
            lines = self._text().splitlines()
        except OSError:
            return []
        entries: dict[tuple[str, str], Entry] = {}
        for number, line in enumerate(lines, start=1):
            words = line.strip()
            if words and not words.startswith("#"):
                for entry in self._entries(words, number):
                    entries.setdefault(_key(entry), entry)
        return [entry for key, entry in entries.items() if key not in self._seen]

    def _entries(self, words: str, number: int) -> list[Entry]:
        source, _, target = (part.strip() for part in words.partition(ARROW))
        try:
            if not target and self._output is None:
                remedy = f"Write INPUT{ARROW}OUTPUT, or give a folder for such lines as the last argument."
                raise ConfigError("the line names no output", where=f"{self._path}, line {number}", remedy=remedy)
            output = target or os.path.join(self._output or "", "")
            return [Entry(found, wanted) for found, wanted in plan_files((source,), output)]
        except (ConfigError, SourceError, SinkError) as error:
            return [Entry(Path(source), Path(target), error)]

    def _text(self) -> str:
        return self._path.read_text("utf-8", "surrogateescape")


def _key(entry: Entry) -> tuple[str, str]:
    return str(entry.source), str(entry.target)
