"""The status of all streams as one JSON value, as a file that others read, and what of it is not as it should be."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamsr.errors import as_sink_error
from streamsr.live.stats import StreamStatus

FORMAT = 1
"""Of the JSON. It grows when a key goes or changes its meaning, not when one is added."""


def to_json(statuses: Sequence[StreamStatus]) -> dict[str, Any]:
    """Plain JSON values (docs/live.md): what does not exist yet is null, never NaN."""
    faults = problems(statuses)
    return {
        "format": FORMAT,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "healthy": not faults,
        "problems": faults,
        "streams": [_plain(dataclasses.asdict(status)) for status in statuses],
    }


def problems(statuses: Sequence[StreamStatus]) -> list[str]:
    """One line for each stream that does not do what it is there for; empty when all is well.

    Well is a live stream that reaches at least one target, and one whose source is away while all targets are up."""
    if not statuses:
        return ["there are no streams"]
    return [f"{status.name}: {fault}" for status in statuses if (fault := _fault(status))]


class StatusFile:
    """A JSON file that always holds a whole status. One writer per path.

    Raises SinkError where the file cannot be written at the start; later `write` never raises and says in `error` what
    went wrong the last time, "" when nothing did: a full disk must not end a stream."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).expanduser()
        self._draft = self._path.with_name(f".{self._path.name}.tmp")
        self.error = ""
        try:
            self._replace(to_json(()))
        except OSError as error:
            raise as_sink_error(error, self._path, "Choose another place with --status-file.") from error

    def write(self, statuses: Sequence[StreamStatus]) -> None:
        """Puts a new status in the place of the last one; a reader sees either."""
        try:
            self._replace(to_json(statuses))
            self.error = ""
        except OSError as error:
            self.error = str(as_sink_error(error, self._path, ""))

    def _replace(self, content: dict[str, Any]) -> None:
        self._draft.write_text(json.dumps(content, indent=1) + "\n", "ascii")
        os.replace(self._draft, self._path)


def _fault(status: StreamStatus) -> str:
    """What is wrong with a stream, "" when nothing is."""
    down = [target for target in status.targets if target.state != "live"]
    reason = f": {status.error}" if status.error else ""
    match status.state:
        case "live" if len(down) < len(status.targets):
            return ""
        case "away" if status.targets and not down:
            return ""
        case "live" | "away":
            told = "; ".join(f"{each.name} {each.state}{f' ({each.error})' if each.error else ''}" for each in down)
            source = "" if status.state == "live" else f"source away{reason}; "
            return f"{source}{told or 'no target is up yet'}"
        case _:
            return f"{status.state}{reason}"


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case float() if not math.isfinite(value):
            return None
    return value
