"""Files that travel with the tasks of a cluster: the inputs once per node through Ray's object store."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from streamsr.chunks.executor import Place
from streamsr.errors import SourceError, StageFailed

PIECE_BYTES = 32 << 20
_PREFIX = "streamsr-node-"
_LONGEST_FETCH_S = 3600.0


@dataclass(frozen=True, slots=True)
class Inputs:
    """Files in the object store: path and pieces (references) of each. Pieces that do not fit into the store's memory
    lie on the disk of the node that put them, Ray sees to that."""

    files: tuple[tuple[str, tuple[Any, ...]], ...] = field(repr=False)


def put_inputs(paths: tuple[str, ...]) -> Inputs:
    """Reads the files into the object store. Raises SourceError."""
    import ray

    files = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                pieces = tuple(ray.put(piece) for piece in iter(partial(file.read, PIECE_BYTES), b""))
        except OSError as error:
            raise SourceError(error.strerror or "cannot be read", where=path) from error
        files.append((path, pieces))
    return Inputs(tuple(files))


def fetch(inputs: Inputs, place: Place) -> None:
    """Makes the files of `inputs` in `place.folder`, which the workers of a node share; the first one does it."""
    import ray

    with _locked(os.path.join(place.folder, "fetch.lock")):
        for path, pieces in inputs.files:
            here = place.here(path)
            if os.path.exists(here):
                continue
            with open(f"{here}.part", "wb") as file:
                for piece in pieces:
                    file.write(ray.get(piece, timeout=_LONGEST_FETCH_S))
            os.replace(f"{here}.part", here)


_held: dict[str, Any] = {}
"""Open lock files of the folders that this process uses: while one is locked, the folder's job lives."""


def shared_folder(job: str) -> str:
    """The folder of `job` on this node, under the system's temporary folder. Those of jobs that were killed before they
    could remove theirs are removed here."""
    import ray

    node = ray.get_runtime_context().get_node_id()[:8]
    folder = Path(tempfile.gettempdir()) / f"{_PREFIX}{job}-{node}"
    lock = folder / "alive.lock"
    while str(folder) not in _held or not lock.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # a sweeper was faster
            file = lock.open("a")
            fcntl.flock(file, fcntl.LOCK_SH)
            _held[str(folder)] = file
    for other in folder.parent.glob(f"{_PREFIX}*"):
        if other != folder:
            _sweep(other)
    return str(folder)


def remove_folder(job: str) -> None:
    """Removes the job's folders on this host; whoever uses them has ended."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}{job}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / "alive.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(path: str) -> Iterator[None]:
    deadline = time.monotonic() + _LONGEST_FETCH_S
    with open(path, "a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StageFailed("another worker of this node is stuck", stage="fetch") from None
                time.sleep(0.1)
        yield
