"""The seam of the loaders: numbers in, crops (or what is made of them) out, in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from streamsr.train.crops import Crop
from streamsr.train.data_config import DataConfig
from streamsr.train.sources import Group, Notice

Made = TypeVar("Made")
Made_co = TypeVar("Made_co", covariant=True)


class Loader(AbstractContextManager["Loader[Made_co]"], Iterator[Made_co], Protocol[Made_co]):
    """As many results as there are numbers; its threads and processes end with the with-block. `next` raises
    StageFailed when a worker has died or stopped answering."""


def open_loader(
    groups: Sequence[Group],
    cfg: DataConfig,
    seed: int,
    numbers: Iterable[int],
    make: Callable[[Crop], Made],
    notice: Notice,
) -> Loader[Made]:
    """make(crop) for the crops of these numbers, which may be endless: the same whatever the number of workers.

    `groups`: from `find_sources`. `make` runs in the workers (torch) and must be picklable; `notice` is told here of
    files that cannot be used. Raises ConfigError for a loader that is not installed."""
    if cfg.loader == "dali":
        from streamsr.train.loader_dali import DaliLoader  # DALI need not be installed

        return DaliLoader(groups, cfg, seed, numbers, make, notice)
    from streamsr.train.loader_torch import TorchLoader

    return TorchLoader(groups, cfg, seed, numbers, make, notice)
