"""The seam between a job and whoever does its chunks: tasks go in, events come out. See local.py and cluster.py."""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from streamsr import errors
from streamsr.errors import ConfigError, SinkError, StageFailed, StreamSRError, WeightsError

Kind = Literal["started", "progress", "done", "failed", "lost"]
Verdict = Literal["retry", "fatal", "full"]
Work = Callable[[Any, Callable[[int], None]], Any]
"""One task: (payload, tell) -> result. `tell(frames)` says how far it is; it may be called often and never waits."""

NO_TASK = -1
"""The key of an event that concerns a worker that had no task."""
_LONGEST_LINE = 600


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work. `key` >= 0 is its own; `payload` is picklable; `cost` in any unit, the longest goes first;
    `output`: path of the file that the work writes, "" for none (see Place.here)."""

    key: int
    payload: Any
    cost: float
    output: str = ""


@dataclass(frozen=True, slots=True)
class WorkSpec:
    """What all workers do. `target` "module:function" names function(setup, place) -> context manager of a Work, which
    is entered once per worker process and then called for each task. `setup` is picklable. `inputs`: paths of the
    files that the work reads (see Place.here)."""

    target: str
    setup: Any
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker works. `device`: "cpu", "mps" or "cuda:N"; `threads`: its share of the cores; `worker`: its name,
    unique in the job; `folder`: where its files are when they are not where the job has them."""

    device: str
    threads: int
    worker: str
    folder: str = ""

    def here(self, path: str | os.PathLike[str]) -> str:
        """Where this worker finds, or shall write, the file that the job calls `path`: one of WorkSpec.inputs or the
        output of its task. The same path, unless files travel with the tasks."""
        if not self.folder:
            return os.fspath(path)
        name = os.fspath(path)
        unique = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        return os.path.join(self.folder, f"{unique}-{os.path.basename(name)}")


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to attempt `attempt` (from 1) of task `key`, or with NO_TASK to a worker without one.

    started   the worker has it; again when a cluster moved it to another worker
    progress  `frames` are done
    done      `result`, after `seconds` of work
    failed    the work raised: `error` is one line, `error_class` the class's name. `verdict`: "retry" elsewhere,
              "fatal" where it would fail anywhere, "full" when the disk is
    lost      the worker ended or went silent: `error` says how; the task may be tried elsewhere"""

    kind: Kind
    key: int
    worker: str
    attempt: int
    frames: int = 0
    result: Any = None
    error: str = ""
    seconds: float = 0.0
    error_class: str = ""
    verdict: Verdict = "retry"


class Executor(Protocol):
    """Workers behind a with-block, whose end ends them in bounded time, whatever they do."""

    @property
    def is_draining(self) -> bool:
        """True after `drain`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def workers(self) -> tuple[str, ...]:
        """Names of those that work or will soon."""

    def idle(self, avoid: frozenset[str] = frozenset()) -> bool:
        """Whether `submit` may be called now for a task that should not go to the workers `avoid`. Where only these are
        left, they count."""

    def submit(self, task: Task, attempt: int, avoid: frozenset[str]) -> None:
        """Hand `task` to an idle worker, outside `avoid` where there is one. Only after `idle(avoid)`."""

    def events(self, timeout_s: float) -> list[Event]:
        """What happened since the last call, per task in the order started, progress, done | failed | lost. Waits at
        most `timeout_s`, less when a worker becomes idle. Raises a StreamSRError when no worker is left, Cancelled."""

    def drain(self) -> None:
        """From now on lost workers are not replaced and `run_tasks` submits nothing more; tasks in flight are finished.
        May be called from a signal handler."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it crosses between processes."""

    line: str
    class_name: str
    verdict: Verdict

    def event(self, kind: Kind, key: int, worker: str, attempt: int, seconds: float = 0.0) -> Event:
        """The failure as what happened to a task."""
        return Event(
            kind,
            key,
            worker,
            attempt,
            seconds=seconds,
            error=self.line,
            error_class=self.class_name,
            verdict=self.verdict,
        )

    def as_error(self) -> StreamSRError:
        """An error of the same class where it is one of ours, else a StageFailed. `str` of it is the line."""
        if self.verdict == "full":
            return SinkError(self.line.rstrip("."))
        known = getattr(errors, self.class_name, None)
        is_plain = isinstance(known, type) and issubclass(known, StreamSRError) and not issubclass(known, StageFailed)
        return known(self.line.rstrip(".")) if is_plain and known else StageFailed(self.line, stage="chunks")


def describe(error: BaseException) -> Failure:
    """What is worth telling of `error`. A wrong option or checkpoint is fatal, as it is wrong everywhere."""
    line = str(error) if isinstance(error, StreamSRError) else f"{type(error).__name__}: {error}"
    verdict: Verdict = "retry"
    if isinstance(error, ConfigError | WeightsError):
        verdict = "fatal"
    elif _is_disk_full(error):
        verdict = "full"
    return Failure(" ".join(line.split())[:_LONGEST_LINE], type(error).__name__, verdict)


def _is_disk_full(error: BaseException | None) -> bool:
    """Looks at the causes too: StreamSRErrors carry no number."""
    for _ in range(20):
        if error is None:
            break
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def open_work(spec: WorkSpec, place: Place) -> AbstractContextManager[Work]:
    """Calls the function that `spec` names. Raises what it raises; ConfigError where there is none."""
    module, _, function = spec.target.partition(":")
    opener = getattr(importlib.import_module(module), function, None)
    if opener is None:
        raise ConfigError(f"there is no {function!r} in {module}", where="chunks")
    opened: AbstractContextManager[Work] = opener(spec.setup, place)
    return opened
