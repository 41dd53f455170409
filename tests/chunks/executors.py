"""Executors for tests, and what tests ask of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from streamsr.chunks.cluster import RayExecutor
from streamsr.chunks.executor import Event, Executor, Task, WorkSpec
from streamsr.chunks.local import LocalExecutor, local_places
from streamsr.chunks.schedule import run_tasks
from streamsr.runtime.crew import Crew
from streamsr.runtime.gate import Gate

TARGET = "tests.chunks.work_targets:open_diary"
PATIENCE_S = 2.0
LONG_S = 60.0
"""Nothing takes that long; a test that does has failed."""
NODE = {
    "num_cpus": 1,
    "node_ip_address": "127.0.0.1",
    "object_store_memory": 80 << 20,
    "include_dashboard": False,
}
"""Of the cluster of the tests."""


class Both:
    """A crew and the executor in it, as one block."""

    def __init__(self, crew: Crew, spec: WorkSpec) -> None:
        self._crew = crew
        self._executor = LocalExecutor(spec, local_places(["cpu"], 2, 2), crew, PATIENCE_S)

    def __enter__(self) -> Executor:
        self._crew.__enter__()
        return self._executor.__enter__()

    def __exit__(self, *error: Any) -> None:
        try:
            self._executor.__exit__(*error)
        finally:
            self._crew.__exit__(*error)


def open_ray(cluster: Any, spec: WorkSpec, transport: Any = "shared") -> RayExecutor:
    if cluster is None:
        pytest.skip("needs ray")
    return RayExecutor(spec, cluster.address, 1, 0, transport, gate=Gate(), patience_s=PATIENCE_S)


def squares(count: int, **more: Any) -> list[Task]:
    return [Task(n, {"do": "square", "number": n, **more}, float(n)) for n in range(count)]


def run(executor: Executor, tasks: list[Task], **how: Any) -> list[Event]:
    return list(run_tasks(executor, tasks, gate=Gate(), **how))


def results(events: list[Event]) -> dict[int, Any]:
    return {event.key: event.result for event in events if event.kind == "done"}


def diary(folder: Path, word: str) -> list[list[str]]:
    file = folder / "diary"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.split() for line in lines if line.startswith(f"{word} ")]


def until(is_true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + LONG_S
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def any_is_dead(pids: list[int]) -> bool:
    return not all(map(is_alive, pids))


def kill_parent_of(pid: int) -> None:
    """And wait until it has taken its child along."""
    parent = psutil.Process(pid).parent()
    assert parent is not None
    assert parent.name().startswith("ray::")
    parent.kill()
    until(lambda: not is_alive(pid), "our process outlives Ray's")
