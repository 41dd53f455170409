"""Keeps two pulls of the same file apart, in whatever processes. The lock ends with its process, however that ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamsr.errors import WeightsError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


@contextmanager
def pull_lock(target: Path) -> Iterator[None]:
    """Holds TARGET.lock. Raises WeightsError at once if another holds it."""
    path = target.with_name(f"{target.name}.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(descriptor, path)
        try:
            yield
        finally:
            if sys.platform != "win32":  # which cannot remove an open file
                path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> None:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before us may have removed the file between our opening and locking it.
            if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
                raise BlockingIOError
    except (BlockingIOError, PermissionError) as error:
        raise WeightsError(
            "another process is fetching the same weights", where=str(path), remedy="Wait until it is done."
        ) from error
