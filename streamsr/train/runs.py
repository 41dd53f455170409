"""The folder of a run: its lock, and a place of its own for every beginning."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streamsr.errors import ConfigError, SinkError, WeightsError
from streamsr.models.pull_lock import pull_lock
from streamsr.train.distributed import Group

LOCK = "run"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """state/ holds checkpoints, tensorboard/ curves and samples, log.jsonl all numbers, NAME.safetensors and NAME.pth
    the model as it was at the last checkpoint, config.json what was asked for."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def model(self) -> Path:
        return self.path / f"{self.name}.safetensors"

    @property
    def config(self) -> Path:
        return self.path / "config.json"


@contextmanager
def open_run(folder: Path, group: Group, *, fresh: bool, notice: Callable[[str], None]) -> Iterator[RunFolder]:
    """The folder, made if it is not there and locked while the block runs; with `fresh` an old one is renamed first.

    The first process of the group does all this, the others wait for it. Raises ConfigError if another training runs
    there, SinkError if it cannot be made."""
    folder = folder.expanduser().resolve()
    if not group.is_first:
        group.wait()
        yield RunFolder(folder)
        return
    try:
        if fresh and folder.is_dir() and any(folder.iterdir()):
            with _locked(folder):
                pass
            names = (folder.with_name(f"{folder.name}.{number}") for number in itertools.count(1))
            aside = next(name for name in names if not name.exists())
            folder.rename(aside)
            notice(f"the run that was here is now in {aside}")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"cannot use this folder: {error.strerror or error}", where=str(folder)) from error
    with _locked(folder):
        group.wait()
        yield RunFolder(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = pull_lock(folder / LOCK)
    try:
        lock.__enter__()
    except WeightsError as error:
        raise ConfigError("another training runs in this folder", where=str(folder), remedy="Use --out.") from error
    try:
        yield
    finally:
        lock.__exit__(None, None, None)
