"""What runs on the nodes of a Ray cluster: a Ray worker hosts one worker process of ours and passes tasks to it.

The work is not done in Ray's own process: that is handed other cards from task to task, which CUDA does not survive,
and a crash, a hang and a failure shall be told apart as on one machine. It is the same process as LocalExecutor's; it
ends with Ray's, without leaving its work's with-block."""

from __future__ import annotations

import os
import pickle
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from typing import Any

import streamsr
from streamsr.chunks.cluster_files import Inputs, fetch, shared_folder
from streamsr.chunks.executor import Event, Failure, Place, Task, Work, WorkSpec, describe, open_work
from streamsr.chunks.process import WorkerProcess
from streamsr.errors import SinkError, SourceError, StageFailed, StreamSRError
from streamsr.runtime.child import POLL_S, Child
from streamsr.runtime.gate import Gate

TELL_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """A task on its way to a node. `spec` and the task's payload are sealed; `inputs`: the files that travel, None
    where paths are shared. `job`: unique name."""

    job: str
    spec: WorkSpec
    task: Task
    attempt: int
    threads: int
    has_gpu: bool
    patience_s: float
    inputs: Inputs | None = None
    version: str = streamsr.__version__


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an order. `event.result` is sealed; `output`: the bytes of the task's output, None where paths are
    shared."""

    event: Event
    output: bytes | None = field(default=None, repr=False)


def sealed(spec: WorkSpec) -> WorkSpec:
    """The same work with everything pickled, so that a Ray worker need not import what the work is made of."""
    return replace(
        spec, target="streamsr.chunks.cluster_node:open_sealed", setup=(spec.target, pickle.dumps(spec.setup))
    )


@contextmanager
def open_sealed(setup: tuple[str, bytes], place: Place) -> Iterator[Work]:
    """The work behind `sealed`: payloads and results are pickled bytes."""
    target, packed = setup
    with open_work(WorkSpec(target, pickle.loads(packed)), place) as work:
        yield lambda payload, tell: pickle.dumps(work(pickle.loads(payload), tell))


def node_name() -> str:
    """The host's name and the beginning of Ray's number of the node, as several may share a host."""
    import ray

    return f"{socket.gethostname()}-{ray.get_runtime_context().get_node_id()[:6]}"


def do_order(order: Order, tell: Callable[[str, int, int], None]) -> Answer:
    """Does the task in this Ray worker's own worker process. `tell(node, pid, frames)` is called at the start and then
    now and then. Failures of all kinds are answers."""
    node = node_name()
    tell(node, os.getpid(), 0)
    place = Place("cuda:0" if order.has_gpu else "cpu", order.threads, f"{node}/{os.getpid()}")
    try:
        if order.version != streamsr.__version__:
            what = f"node {node} has streamsr {streamsr.__version__}, the job {order.version}"
            raise StageFailed(what, stage="chunks", remedy="Install the same version everywhere.")
        if order.inputs is not None:
            place = replace(place, folder=shared_folder(order.job))
            fetch(order.inputs, place)
        check_paths(order, node)
        event = _run(order, place, lambda frames: tell(node, os.getpid(), frames))
        output = None
        if order.inputs is not None and order.task.output and event.kind == "done":
            path = place.here(order.task.output)
            with open(path, "rb") as file:
                output = file.read()
            os.unlink(path)
    except (StreamSRError, OSError) as error:
        return Answer(describe(error).event("failed", order.task.key, node, order.attempt))
    return Answer(replace(event, worker=node), output)


def check_paths(order: Order, node: str) -> None:
    """Raises SourceError or SinkError naming the node and the path that it lacks; files that travel are left out."""
    remedy = "Mount it there, or let the files travel: --transport objects."
    for path in order.spec.inputs if order.inputs is None else ():
        if not os.path.exists(path):
            raise SourceError(f"node {node} does not see the file", where=path, remedy=remedy)
    folder = os.path.dirname(order.task.output)
    if order.inputs is None and folder and not os.access(folder, os.W_OK):
        raise SinkError(f"node {node} cannot write there", where=folder, remedy=remedy)


_hosted: dict[tuple[str, str], WorkerProcess] = {}
"""The one process of this Ray worker, by job and card."""


def _run(order: Order, place: Place, tell: Callable[[int], None]) -> Event:
    """The last event of the task: done, failed or lost."""
    process = _process_for(order, place)
    while process.state == "opening":
        process.poll()
        wait([process.child.connection], POLL_S)
    if process.state == "ready":
        last, told_at = process.give(order.task, order.attempt), time.monotonic()
        while last.kind in ("started", "progress"):
            wait([process.child.connection], POLL_S)
            for last in process.poll():
                if last.kind == "progress" and time.monotonic() - told_at > TELL_EVERY_S:
                    told_at = time.monotonic()
                    tell(last.frames)
        if process.state == "gone":
            process.stop(0.0)  # at once: one that hangs could wake up and write
        return last
    failure = process.failure or Failure("the worker did not start", "StageFailed", "retry")
    process.stop(0.0)
    return failure.event("failed" if process.is_unfit else "lost", order.task.key, place.worker, order.attempt)


def _process_for(order: Order, place: Place) -> WorkerProcess:
    """The process of the last task where it can do this one too, else a new one. Ray may give another card."""
    key = (order.job, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    process = _hosted.get(key)
    if process is not None:
        process.poll()
    if process is None or process.state == "gone":
        for old in _hosted.values():
            old.stop(0.0)
        _hosted.clear()
        process = _hosted[key] = WorkerProcess(order.spec, place, _start, order.patience_s)
    return process


def _start(name: str, target: Callable[..., None], args: tuple[Any, ...], environment: Mapping[str, str]) -> Child:
    return Child(name, target, args, Gate(), environment)
