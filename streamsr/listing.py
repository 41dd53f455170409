"""What lies in a folder of pictures or clips."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path


def files_under(folder: Path, suffixes: Collection[str] | None = None) -> list[Path]:
    """All files in `folder` and its subfolders, sorted by path. `suffixes`: only these, in small letters with the dot.

    Links to folders are followed, as collections of pictures are often put together of them (Path.rglob does not);
    each folder once, so that a link to a folder above is no endless way down."""
    seen: set[str] = set()
    found: list[Path] = []
    for place, below, names in os.walk(folder, followlinks=True):
        below.sort()  # which of two ways to one folder is taken must not depend on the file system
        real = os.path.realpath(place)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        found += (Path(place, name) for name in names)
    return sorted(path for path in found if (suffixes is None or path.suffix.lower() in suffixes) and path.is_file())
