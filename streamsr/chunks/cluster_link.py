"""What a RayExecutor asks of Ray: nodes, tasks, news, answers. Only the files cluster_*.py know Ray."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamsr
from streamsr.chunks.cluster_connection import CONNECT_S, Connection
from streamsr.chunks.cluster_node import Answer, Order
from streamsr.chunks.executor import NO_TASK, Event, describe
from streamsr.errors import ConfigError, SourceError

RETRIES = 3
"""How often Ray begins a task again whose node, or whose Ray worker, it has lost."""
_LOOK_EVERY_S = 1.0

News = dict[int, tuple[int, str, int, int]]
"""By key of the task: attempt, node, process, frames done."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one task takes of a node."""

    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Node:
    """A living node with room for `len(places)` tasks at a time."""

    name: str
    number: str
    places: tuple[str, ...]


class Link:
    """Opened and closed by its RayExecutor."""

    def __init__(self, address: str, resources: Resources, job: str) -> None:
        self.address, self.resources, self._job = address, resources, job
        self._ray: Any = None
        self._connection = Connection(address)
        self._board: Any = None
        self._asked: Any = None
        self._nodes: tuple[Node, ...] = ()
        self._looked_at = 0.0

    def open(self) -> None:
        """Connects. Raises ConfigError."""
        self._connection.open()
        ray = self._ray = self._connection.ray
        here = ray.get_runtime_context().get_node_id()
        self._board = ray.remote(num_cpus=0, max_restarts=-1)(_board_class()).options(
            scheduling_strategy=self._on(here, soft=True)
        )
        self._board = self._board.remote()
        self._remote = ray.remote(max_calls=0)(_remote_order())

    def check_nodes(self, inputs: tuple[str, ...]) -> None:
        """Raises ConfigError when no node has room for a task or one has another streamsr, SourceError when one does
        not see one of `inputs`."""
        nodes = self.nodes()
        if not nodes:
            what = f"no node of the cluster has {self.resources.cpus:g} CPUs and {self.resources.gpus:g} GPUs"
            raise ConfigError(what, where=f"ray {self.address}", remedy="See `ray status`.")
        probe = self._ray.remote(num_cpus=0, max_retries=RETRIES)(_probe())
        refs = [probe.options(scheduling_strategy=self._on(node.number)).remote(inputs) for node in nodes]
        ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=CONNECT_S)
        for node, ref in zip(nodes, refs, strict=True):
            where = f"node {node.name}"
            if ref not in ready:
                raise ConfigError(f"no answer within {CONNECT_S:g} s", where=where, remedy="See `ray status`.")
            try:
                version, missing = self._ray.get(ref)
            except self._ray.exceptions.RayError as error:
                raise ConfigError(describe(error).line.rstrip("."), where=where) from error
            if version != streamsr.__version__:
                found = f"has streamsr {version}" if version else "has no streamsr"
                remedy = f"Install streamsr {streamsr.__version__} for Python {platform.python_version()} there."
                raise ConfigError(f"the node {found}", where=where, remedy=remedy)
            if missing:
                remedy = "Mount it there, or let the files travel: --transport objects."
                raise SourceError(f"{where} does not see the file", where=missing[0], remedy=remedy)

    def nodes(self) -> tuple[Node, ...]:
        """Nodes with room for at least one task; looked up at most every second."""
        if time.monotonic() - self._looked_at > _LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            nodes = []
            for facts in self._ray.nodes():
                room = _room(facts.get("Resources", {}), self.resources) if facts["Alive"] else 0
                name = f"{facts['NodeManagerHostname']}-{facts['NodeID'][:6]}"
                if room:
                    nodes.append(Node(name, facts["NodeID"], tuple(f"{name}/{n}" for n in range(room))))
            self._nodes = tuple(nodes)
        return self._nodes

    def submit(self, order: Order, node: Node | None) -> Any:
        """Gives the order to Ray, preferably for `node`; a reference to its Answer."""
        strategy = "SPREAD" if node is None else self._on(node.number, soft=True)
        options = {"num_cpus": self.resources.cpus, "num_gpus": self.resources.gpus, "name": f"chunk {order.task.key}"}
        remote = self._remote.options(
            **options, max_retries=RETRIES, retry_exceptions=False, scheduling_strategy=strategy
        )
        return remote.remote(order, self._board)

    def news(self) -> News:
        """What tasks have told since the last call. Never waits: the answer to the last question, if it is there."""
        news: News = {}
        try:
            if self._asked is not None and self._ray.wait([self._asked], timeout=0)[0]:
                news, self._asked = self._ray.get(self._asked), None
            if self._asked is None:
                self._asked = self._board.read.remote()
        except self._ray.exceptions.RayError:
            self._asked = None  # the board comes back, empty
        return news

    def result(self, ref: Any) -> Answer | Event | None:
        """The answer; an Event "lost" or "failed" (its key NO_TASK) where Ray has none to give; None: not yet."""
        exceptions = self._ray.exceptions
        if not self._ray.wait([ref], timeout=0)[0]:
            return None
        try:
            answer: Answer = self._ray.get(ref)
            return answer
        except exceptions.RayTaskError as error:
            return describe(error.cause or error).event("failed", NO_TASK, "", 0)
        except exceptions.RayError as error:
            return describe(error).event("lost", NO_TASK, "", 0)

    def wait(self, refs: Sequence[Any], timeout_s: float) -> None:
        """Until one of them, or news, is there."""
        waiting = [*refs, self._asked] if self._asked is not None else list(refs)
        if waiting:
            self._ray.wait(waiting, num_returns=1, timeout=timeout_s, fetch_local=False)
        time.sleep(0.01 if waiting else timeout_s)

    def cancel(self, refs: Sequence[Any], patience_s: float) -> None:
        """Kills what still runs, and its processes."""
        if refs:
            for ref in refs:
                self._ray.cancel(ref, force=True)
            self._ray.wait(list(refs), num_returns=len(refs), timeout=patience_s, fetch_local=False)

    def remove_folders(self, patience_s: float) -> None:
        """Removes what `cluster_files.fetch` made, on every node that answers."""
        remove = self._ray.remote(num_cpus=0, max_retries=0)(_removal())
        refs = [remove.options(scheduling_strategy=self._on(node.number)).remote(self._job) for node in self.nodes()]
        if refs:
            self._ray.wait(refs, num_returns=len(refs), timeout=patience_s)

    def close(self) -> None:
        """Disconnects; a cluster that `open` started ends."""
        if self._ray is None:
            return
        with contextlib.suppress(self._ray.exceptions.RayError):
            if self._board is not None:
                self._ray.kill(self._board)
        self._board = self._asked = None
        self._connection.close()

    def _on(self, number: str, soft: bool = False) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node_id=number, soft=soft)


def _room(offered: dict[str, float], needed: Resources) -> int:
    """How many tasks a node takes at a time."""
    rooms = []
    if needed.cpus > 0:
        rooms.append(offered.get("CPU", 0.0) / needed.cpus)
    if needed.gpus > 0:
        rooms.append(offered.get("GPU", 0.0) / needed.gpus)
    return int(min(rooms, default=0) + 1e-9)


# What follows is defined inside functions, so that it travels to the nodes by value: they may not have streamsr.


def _board_class() -> Any:
    class Board:
        """Where tasks say how far they are: the latest words of each, so that it stays small."""

        def __init__(self) -> None:
            self._news: dict[int, Any] = {}

        def tell(self, key: int, words: Any) -> None:
            self._news[key] = words

        def read(self) -> dict[int, Any]:
            news, self._news = self._news, {}
            return news

    return Board


def _probe() -> Any:
    def probe(inputs: tuple[str, ...]) -> tuple[str, list[str]]:
        import os

        try:
            import streamsr
        except ImportError:
            return "", []
        return streamsr.__version__, [path for path in inputs if not os.path.exists(path)]

    return probe


def _remote_order() -> Any:
    def chunk(order: Any, board: Any) -> Any:
        from streamsr.chunks.cluster_node import do_order

        key, attempt = order.task.key, order.attempt
        return do_order(order, lambda node, process, frames: board.tell.remote(key, (attempt, node, process, frames)))

    return chunk


def _removal() -> Any:
    def remove(job: str) -> None:
        from streamsr.chunks.cluster_files import remove_folder

        remove_folder(job)

    return remove
