"""The program `prepare`: a folder of pictures into scales and parts that training reads quickly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamsr.errors import SourceError
from streamsr.train.prepare import Preparation, prepare


def prepare_folder(source: Path, target: Path, how: Preparation, notice: Callable[[str], None]) -> int:
    """Returns how many pictures are ready in `target`; what happened to each is told by `notice`.

    Raises ConfigError and SinkError as `prepare`, SourceError when no picture could be read."""
    ready = finished = files = 0
    for one in prepare(source, target, how):
        if one.skipped:
            notice(f"skipped {one.path.name}: {one.skipped}")
            continue
        ready += 1
        finished += not one.files
        files += one.files
        if one.files:
            notice(f"{one.path.relative_to(source)}: {one.files} files")
    if not ready:
        raise SourceError("no picture could be read", where=str(source))
    notice(f"{ready} pictures ready in {target}: {finished} finished before, {files} files written")
    return ready
