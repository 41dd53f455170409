"""What a software encoder gains from cores: one per core, single-threaded, against one alone."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from streamsr.chunks.executor import Executor, Place, Task, Work, WorkSpec
from streamsr.chunks.local import LocalExecutor, local_places
from streamsr.chunks.schedule import run_tasks
from streamsr.config import SourceConfig
from streamsr.frames import Frame
from streamsr.media.encode_worker import PictureEncoder
from streamsr.media.encoders import EncoderSettings
from streamsr.media.source import open_source
from streamsr.runtime.crew import Crew

PICTURES = 24
TURNS = 3


@dataclass(frozen=True, slots=True)
class EncodeSetup:
    """`settings` are used with other numbers of threads; the pictures are the first of `clip`, enlarged."""

    clip: Path
    settings: EncoderSettings


@dataclass(frozen=True, slots=True)
class EncodeTask:
    """Encode for `seconds` with an encoder of `threads` threads, on the cores with these numbers only."""

    seconds: float
    threads: int
    cores: tuple[int, ...]


@contextmanager
def open_encoding(setup: EncodeSetup, place: Place) -> Iterator[Work]:
    """Work on EncodeTasks; the result is pictures per second."""
    with open_source(setup.clip, SourceConfig()) as source:
        pictures = [_enlarged(frame, setup.settings) for frame in islice(source.frames(), PICTURES)]

    def encode(task: EncodeTask, tell: Callable[[int], None]) -> float:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, task.cores)  # before the encoder starts its threads
        feed = _Feed(pictures, replace(setup.settings, threads=task.threads), task.seconds)
        begun = time.perf_counter()
        PictureEncoder(feed.settings, feed, cast(Any, feed)).run(feed)
        return feed.count / (time.perf_counter() - begun)

    yield encode


class _Feed:
    """Pictures in turn until the time is over: slots, pipe and outbox of a PictureEncoder in one."""

    def __init__(self, pictures: Sequence[bytearray], settings: EncoderSettings, seconds: float) -> None:
        self.settings = settings
        self.count = 0
        self._pictures, self._ends_at = pictures, time.perf_counter() + seconds
        self._tick = max(1, round(1 / (settings.rate * settings.time_base)))

    def recv(self) -> tuple[Any, ...]:
        if time.perf_counter() > self._ends_at and self.count:
            return ("end",)
        self.count += 1
        return "picture", (self.count - 1) % len(self._pictures), (self.count - 1) * self._tick

    def send(self, obj: Any, /) -> None:
        """Nobody listens."""

    def put(self, message: Any) -> None:
        """Packets are not kept."""

    def memory(self, index: int) -> memoryview:
        return memoryview(self._pictures[index])


def _enlarged(frame: Frame, settings: EncoderSettings) -> bytearray:
    """The picture in the size and layout that the encoder takes, packed as in a slot."""
    shapes = settings.layout.plane_shapes(settings.width, settings.height)
    shift, packed = settings.layout.depth - frame.layout.depth, bytearray()
    for plane, (rows, columns) in zip(frame.planes, shapes, strict=True):
        large = cv2.resize(np.ascontiguousarray(plane), (columns, rows), interpolation=cv2.INTER_LINEAR)
        large = (large.astype(np.int32) << max(0, shift) >> max(0, -shift)).astype(settings.layout.dtype)
        packed += large.tobytes()
    return packed


def usable_core_numbers() -> tuple[int, ...]:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def encoding_rates(setup: EncodeSetup, seconds: float, crew: Crew) -> dict[str, float]:
    """Pictures per second, medians of TURNS turns: "1", "2", "4", ... single-threaded encoders at once, each on a core
    of its own, up to the number of cores; "threads": one encoder with a thread per core. Raises StreamSRError."""
    cores = usable_core_numbers()
    counts = sorted({1, len(cores), *(1 << n for n in range(1, 12) if 1 << n < len(cores))})
    spec = WorkSpec("pipelines.bench_encode:open_encoding", setup)
    rates: dict[str, list[float]] = {}
    with LocalExecutor(spec, local_places(["cpu"], len(cores), len(cores)), crew, crew.patience_s) as executor:
        _at_once(executor, [EncodeTask(0.0, 1, cores)] * len(cores), crew)
        for _ in range(TURNS):
            for count in counts:
                alone = [EncodeTask(seconds / TURNS, 1, (core,)) for core in cores[:count]]
                rates.setdefault(str(count), []).append(_at_once(executor, alone, crew))
            together = [EncodeTask(seconds / TURNS, len(cores), cores)]
            rates.setdefault("threads", []).append(_at_once(executor, together, crew))
    return {name: statistics.median(measured) for name, measured in rates.items()}


def _at_once(executor: Executor, wanted: Sequence[EncodeTask], crew: Crew) -> float:
    """All of them at the same time: the sum of their rates."""
    tasks = [Task(number, task, 1.0) for number, task in enumerate(wanted)]
    rates: list[float] = [event.result for event in run_tasks(executor, tasks, gate=crew.gate) if event.kind == "done"]
    return sum(rates)
