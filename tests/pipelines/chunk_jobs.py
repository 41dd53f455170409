"""Chunked jobs for tests: workers inside the test's process, and files compared by what they hold."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import av
import numpy as np
import pytest

import pipelines.chunked
from pipelines.chunk_workers import Staff
from pipelines.chunked import chunk_file
from pipelines.upscale import upscale_file
from streamsr.chunks.executor import Event, Place, Task, WorkSpec, open_work
from streamsr.config import ChunksConfig, JobConfig
from streamsr.display.workers import WorkersProgress
from streamsr.report import Report
from streamsr.runtime.crew import Crew
from tests.pipelines.jobs import Ears, job


@dataclass
class ChunkEars(Ears):
    """A watcher of a chunked job that remembers."""

    moments: list[WorkersProgress] = field(default_factory=list)

    def workers(self, now: WorkersProgress) -> None:
        self.moments.append(now)


class InlineExecutor:
    """An Executor of one worker in this process: no second import of torch, everything else for real."""

    def __init__(self, spec: WorkSpec) -> None:
        self._spec, self._stack, self._events = spec, ExitStack(), list[Event]()
        self.is_draining = False

    def __enter__(self) -> InlineExecutor:
        self._work = self._stack.enter_context(open_work(self._spec, Place("cpu", 1, "inline")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def workers(self) -> tuple[str, ...]:
        return ("inline",)

    def idle(self, avoid: frozenset[str] = frozenset()) -> bool:
        return not self._events

    def submit(self, task: Task, attempt: int, avoid: frozenset[str]) -> None:
        self._events.append(Event("started", task.key, "inline", attempt))
        result = self._work(task.payload, lambda frames: None)
        self._events.append(Event("done", task.key, "inline", attempt, result=result, seconds=0.1))

    def events(self, timeout_s: float) -> list[Event]:
        events, self._events = self._events, []
        return events

    def drain(self) -> None:
        self.is_draining = True


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are made in this process."""

    def open_inline(cfg: JobConfig, spec: WorkSpec, staff: Staff, crew: Crew) -> InlineExecutor:
        return InlineExecutor(spec)

    monkeypatch.setattr(pipelines.chunked, "open_executor", open_inline)
    monkeypatch.setattr(pipelines.chunked, "open_local", open_inline)


def both(cfg: JobConfig, source: Path, folder: Path, suffix: str = ".mkv") -> tuple[Report, Report]:
    """Reports of `upscale` and of `chunked` on the same job, into whole.mkv and chunked.mkv."""
    whole = upscale_file(cfg, source, folder / f"whole{suffix}", Ears())
    return whole, chunk_file(cfg, source, folder / f"chunked{suffix}", ChunkEars())


def chunk_job(model: Path, **changes: Any) -> JobConfig:
    """A quick lossless job in short chunks."""
    chunks = {key: changes.pop(key) for key in list(changes) if key.startswith("chunks__")}
    cfg = job(model, **{"encode__codec": "ffv1", **changes})
    section = {"chunk_s": 0.5} | {key.removeprefix("chunks__"): value for key, value in chunks.items()}
    return cfg.model_copy(update={"chunks": ChunksConfig.model_validate(section)})


def pictures_of(path: Path) -> list[tuple[int, str]]:
    """(pts, hash of all planes without padding) of every decoded picture."""
    with av.open(str(path)) as container:
        return [(frame.pts or 0, _hash_of(frame)) for frame in container.decode(video=0)]


def _hash_of(frame: av.VideoFrame) -> str:
    """Of the samples of all planes, without padding."""
    digest = hashlib.sha256(frame.format.name.encode())
    sample_bytes = [-(-component.bits // 8) for component in frame.format.components]
    if len(frame.planes) == 1:
        sample_bytes = [frame.format.bits_per_pixel // 8]
    for plane, num_bytes in zip(frame.planes, sample_bytes, strict=False):
        rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(plane.height, plane.line_size)
        digest.update(rows[:, : plane.width * num_bytes].tobytes())
    return digest.hexdigest()


def others_of(path: Path) -> list[tuple[int, int | None, int | None, bytes]]:
    """(stream, pts, dts, bytes) of every packet that is not of the first video."""
    with av.open(str(path)) as container:
        main = container.streams.video[0].index
        return sorted(
            (packet.stream_index, packet.pts, packet.dts, bytes(packet))
            for packet in container.demux()
            if packet.stream_index != main and packet.size
        )


def check_alike(folder: Path, suffix: str = ".mkv") -> None:
    """whole.mkv and chunked.mkv hold the same pictures at the same times, and the same of everything else."""
    whole, chunked = folder / f"whole{suffix}", folder / f"chunked{suffix}"
    assert pictures_of(chunked) == pictures_of(whole)
    assert others_of(chunked) == others_of(whole)
    assert _seen(chunked) == _seen(whole)


def _seen(path: Path) -> Any:
    with av.open(str(path)) as container:
        streams = [
            (stream.type, stream.codec_context.name if stream.codec_context else "", dict(stream.metadata))
            for stream in container.streams
        ]
        for _, _, metadata in streams:
            metadata.pop("DURATION", None)
        return streams, [dict(chapter) for chapter in container.chapters()], dict(container.metadata)
