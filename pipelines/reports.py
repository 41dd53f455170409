"""The file of `--report`: what each finished job says about itself, as JSON (docs/report.md)."""

from __future__ import annotations

import json
import os
from pathlib import Path

from streamsr.errors import ConfigError, SinkError
from streamsr.report import Report


class ReportFile:
    """An object for one input, a list of objects for several; written anew after each job, so that it is whole at any
    time. Without a path nothing is written. Raises ConfigError for a path that cannot be meant."""

    def __init__(self, path: str | None, *, is_list: bool) -> None:
        self._path = None if path is None else Path(path)
        self._is_list = is_list
        self._facts: list[object] = []
        if self._path is None:
            return
        if self._path.suffix.lower() != ".json":
            raise ConfigError(
                "a report is a .json file", where=f"--report {path}", remedy=f"Write --report {path}.json."
            )
        if not self._path.parent.is_dir():
            raise ConfigError("no such folder", where=f"--report {path}", remedy="Make it first.")

    def add(self, report: Report) -> None:
        """Raises SinkError when it cannot be written."""
        if self._path is None:
            return
        self._facts.append(report.facts)
        text = json.dumps(self._facts if self._is_list else report.facts, indent=2, default=str)
        part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        try:
            part.write_text(f"{text}\n", "utf-8")
            part.replace(self._path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise SinkError(f"cannot write the report: {error.strerror}", where=str(self._path)) from error
