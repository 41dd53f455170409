"""Crops by torch's DataLoader: worker processes that live as long as the with-block, or none."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from streamsr.errors import StageFailed, StreamSRError
from streamsr.train.crops import Crop, CropSource
from streamsr.train.data_config import DataConfig
from streamsr.train.sources import Group, Notice

Made = TypeVar("Made")
AHEAD = 4
"""Results that each worker may be ahead."""
PATIENCE_S = 300.0
"""How long the next result may take; a slow recipe on a busy machine takes seconds."""
STAGE = "pairs"


@dataclass(frozen=True, slots=True)
class _Result(Generic[Made]):
    """What came of a number: a value or an error, which is carried in parts because it would not survive pickling."""

    skipped: tuple[str, ...] = ()
    value: Made | None = None
    failure: tuple[type[StreamSRError], str, str, str] | None = None


class _Numbered(Dataset[_Result[Made]]):
    def __init__(self, source: CropSource, make: Callable[[Crop], Made]) -> None:
        self.source, self.make = source, make

    def __getitem__(self, number: int) -> _Result[Made]:
        try:
            crop = self.source.crop(number)
            return _Result(crop.skipped, self.make(crop))
        except StreamSRError as error:
            return _Result(failure=(type(error), error.what, error.where, error.remedy))


class TorchLoader(Generic[Made]):
    """See `open_loader`. With workers, `PATIENCE_S` bounds each wait."""

    def __init__(
        self,
        groups: Sequence[Group],
        cfg: DataConfig,
        seed: int,
        numbers: Iterable[int],
        make: Callable[[Crop], Made],
        notice: Notice,
    ) -> None:
        cache_bytes = cfg.cache_mb * 2**20 // max(1, cfg.workers)
        self._dataset = _Numbered(CropSource(groups, cfg, seed, cache_bytes), make)
        self._workers, self._notice = cfg.workers, notice
        self._numbers = numbers
        self._results: Iterator[_Result[Made]] | None = None
        self._told: set[str] = set()

    def __enter__(self) -> TorchLoader[Made]:
        if self._workers:
            loader = DataLoader(
                self._dataset,
                batch_size=None,
                sampler=self._numbers,
                num_workers=self._workers,
                collate_fn=_as_it_is,
                timeout=PATIENCE_S,
                # A fork of a process with threads and a CUDA context may hang.
                multiprocessing_context="spawn",
                prefetch_factor=AHEAD,
                worker_init_fn=_start_worker,
            )
            self._results = iter(loader)
        else:
            self._results = map(self._dataset.__getitem__, self._numbers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        results, self._results = self._results, None
        stop: Any = getattr(results, "_shutdown_workers", None)
        if stop:
            # What torch does when the iterator is collected, but now, whoever else still refers to it.
            stop()

    def __iter__(self) -> TorchLoader[Made]:
        return self

    def __next__(self) -> Made:
        assert self._results is not None, "a loader is used inside its with-block"
        try:
            result = next(self._results)
        except (RuntimeError, ConnectionError, EOFError) as error:
            if not self._workers:
                raise
            if not isinstance(error, RuntimeError):  # it died between announcing a result and handing it over
                what = "a worker died while it handed over a picture"
                raise StageFailed(what, stage=STAGE, remedy="Try --set data.workers=0 to see more.") from error
            # A worker that died, timed out or raised: torch says which in the first line.
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
            words = lines[0] if len(lines) == 1 else lines[-1]
            raise StageFailed(words, stage=STAGE, remedy="Try --set data.workers=0 to see more.") from error
        for line in result.skipped:
            if line not in self._told:
                self._told.add(line)
                self._notice(line)
        if result.failure:
            kind, what, where, remedy = result.failure
            raise kind(what, where=where, remedy=remedy)
        assert result.value is not None, "a result is a value or a failure"
        return result.value


def _as_it_is(value: Any) -> Any:
    return value


def _start_worker(worker: int) -> None:
    """The training decides what Ctrl-C means; the cores are shared among the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
