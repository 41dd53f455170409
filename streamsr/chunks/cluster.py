"""Workers that are tasks of a Ray cluster: Ray chooses the node and the card, and sees to lost nodes."""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal

from streamsr.chunks.cluster_files import Inputs, put_inputs
from streamsr.chunks.cluster_link import Link, Node, Resources
from streamsr.chunks.cluster_node import Answer, Order, sealed
from streamsr.chunks.executor import Event, Task, WorkSpec, describe
from streamsr.errors import StageFailed
from streamsr.runtime.gate import Gate

Transport = Literal["shared", "objects"]
_SLICE_S = 0.1
_CANCEL_S = 10.0


@dataclass(slots=True)
class _Flight:
    """A task that Ray has. `runs_on`: (node, process) once it runs; `worker`: the row it is shown in."""

    task: Task
    attempt: int
    ref: Any
    runs_on: tuple[str, int] | None = None
    worker: str = ""


class RayExecutor:
    """An Executor on the Ray cluster at `address`: "auto" for the one of this machine, HOST:PORT, or "local" for one
    that is started and ended by the with-block.

    Each task gets `per_task_cpus` cores and `per_task_gpus` cards (a fraction lets tasks share a card). streamsr must
    be installed on the nodes, in the version of this one: it is not sent along. `transport`: "shared", the paths of
    the inputs and outputs are the same on all nodes, or "objects", the inputs travel once to each node, into its
    temporary folder, and each output comes back whole, so that it must fit into the object store of its node.

    Ray itself begins a task again whose node is lost: then there is a second "started". A worker process that ends or
    is silent for `patience_s` is told as "lost". Workers are called NODE/0, NODE/1, ... by the places of a node."""

    def __init__(
        self,
        spec: WorkSpec,
        address: str,
        per_task_cpus: float,
        per_task_gpus: float,
        transport: Transport,
        *,
        gate: Gate,
        patience_s: float,
    ) -> None:
        self._spec, self._transport, self._gate, self._patience_s = spec, transport, gate, patience_s
        self._job = secrets.token_hex(8)
        self._link = Link(address, Resources(per_task_cpus, per_task_gpus), self._job)
        self._inputs: Inputs | None = None
        self._flights: dict[int, _Flight] = {}
        self._pending: list[Event] = []
        self._is_draining = False
        self._bare_since: float | None = None

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    def __enter__(self) -> RayExecutor:
        """Raises ConfigError without Ray, a cluster, or nodes that can work; SourceError where one lacks an input."""
        self._link.open()
        try:
            is_shared = self._transport == "shared"
            self._link.check_nodes(self._spec.inputs if is_shared else ())
            if not is_shared:
                self._inputs = put_inputs(self._spec.inputs)
        except BaseException:
            self._link.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._link.cancel([flight.ref for flight in self._flights.values()], _CANCEL_S)
            if self._inputs is not None:
                self._link.remove_folders(_CANCEL_S)
        finally:
            self._inputs = None
            self._link.close()

    def workers(self) -> tuple[str, ...]:
        return tuple(name for node in self._link.nodes() for name in node.places)

    def idle(self, avoid: frozenset[str] = frozenset()) -> bool:
        return len(self._flights) < len(self.workers())

    def submit(self, task: Task, attempt: int, avoid: frozenset[str]) -> None:
        order = Order(
            self._job,
            sealed(self._spec),
            replace(task, payload=pickle.dumps(task.payload)),
            attempt,
            max(1, int(self._link.resources.cpus)),
            self._link.resources.gpus > 0,
            self._patience_s,
            self._inputs,
        )
        self._flights[task.key] = _Flight(task, attempt, self._link.submit(order, self._elsewhere(avoid)))

    def drain(self) -> None:
        self._is_draining = True

    def events(self, timeout_s: float) -> list[Event]:
        deadline = time.monotonic() + timeout_s
        while True:
            self._gate.check()
            self._pending += self._news()
            self._pending += self._results()
            if self._pending:
                events, self._pending = self._pending, []
                return events
            self._check_alive()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return []
            self._link.wait([flight.ref for flight in self._flights.values()], min(_SLICE_S, left_s))

    def _elsewhere(self, avoid: frozenset[str]) -> Node | None:
        """The least busy node that is not to be avoided; None when it does not matter or there is none."""
        if not avoid:
            return None
        shunned = {name.rpartition("/")[0] for name in avoid}
        others = [node for node in self._link.nodes() if node.name not in shunned]
        busy = [flight.runs_on[0] for flight in self._flights.values() if flight.runs_on]
        return min(others, key=lambda node: busy.count(node.name) / len(node.places), default=None)

    def _news(self) -> Iterator[Event]:
        for key, (attempt, node, process, frames) in self._link.news().items():
            flight = self._flights.get(key)
            if flight is None or flight.attempt != attempt:
                continue  # it is done already
            if flight.runs_on != (node, process):
                yield self._started(flight, node, process)
            if frames:
                yield Event("progress", key, flight.worker, attempt, frames)

    def _started(self, flight: _Flight, node: str, process: int) -> Event:
        taken = {other.worker for other in self._flights.values() if other is not flight}
        flight.runs_on = (node, process)
        flight.worker = next(name for n in itertools.count() if (name := f"{node}/{n}") not in taken)
        return Event("started", flight.task.key, flight.worker, flight.attempt)

    def _results(self) -> Iterator[Event]:
        for key, flight in list(self._flights.items()):
            outcome = self._link.result(flight.ref)
            if outcome is None:
                continue
            event = self._accept(flight, outcome) if isinstance(outcome, Answer) else outcome
            node = event.worker or "cluster"
            if flight.runs_on is None or (event.worker and node != flight.runs_on[0]):  # its news did not come
                yield self._started(flight, node, 0)
            del self._flights[key]
            yield replace(event, key=key, attempt=flight.attempt, worker=flight.worker)

    def _accept(self, flight: _Flight, answer: Answer) -> Event:
        """The answer as an event: the result unsealed, the output that came along written."""
        event = answer.event
        if event.kind != "done":
            return event
        try:
            if answer.output is not None:
                _write(flight.task.output, answer.output)
        except OSError as error:
            return describe(error).event("failed", event.key, event.worker, event.attempt)
        return replace(event, result=pickle.loads(event.result))

    def _check_alive(self) -> None:
        """Nodes come back, so they get some time."""
        if self._link.nodes():
            self._bare_since = None
        elif self._bare_since is None:
            self._bare_since = time.monotonic()
        elif time.monotonic() - self._bare_since > self._patience_s:
            remedy = "See to the cluster and run the same command again to go on."
            raise StageFailed("no node of the cluster is left", stage="chunks", remedy=remedy)


def _write(path: str, data: bytes) -> None:
    """Whole or not at all, also through a loss of power."""
    part = f"{path}.arriving"
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
