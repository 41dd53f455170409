"""What only a Ray cluster has: nodes that are lost, files that travel, nobody there."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from streamsr.chunks.cluster import RayExecutor
from streamsr.chunks.executor import Event, Task, WorkSpec
from streamsr.chunks.schedule import run_tasks
from streamsr.errors import ConfigError, SourceError
from streamsr.runtime.gate import Gate
from tests.chunks.executors import (
    NODE,
    PATIENCE_S,
    TARGET,
    any_is_dead,
    diary,
    is_alive,
    kill_parent_of,
    open_ray,
    results,
    run,
    squares,
    until,
)

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]


def test_files_can_travel(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsr.chunks.cluster_files.PIECE_BYTES", 1 << 20)
    source = tmp_path / "film.bin"
    source.write_bytes(os.urandom(size := (5 << 20) + 7))
    spec = WorkSpec(TARGET, {"folder": str(tmp_path)}, (str(source),))
    parts = [str(tmp_path / "parts" / f"{n}.part") for n in range(4)]
    (tmp_path / "parts").mkdir()
    tasks = [Task(n, {"do": "copy", "input": str(source), "output": part}, 1, part) for n, part in enumerate(parts)]
    with open_ray(cluster, spec, "objects") as executor:
        assert set(results(run(executor, tasks)).values()) == {size}
        folders = list(Path(tempfile.gettempdir()).glob("streamsr-node-*"))
        assert 1 <= len(folders) <= 2, "one per node"
    assert not [folder for folder in folders if folder.exists()]
    reverse = source.read_bytes()[::-1]
    assert all(Path(part).read_bytes() == reverse for part in parts)
    assert sorted(os.listdir(tmp_path / "parts")) == [f"{n}.part" for n in range(4)]


def test_a_node_without_the_film_is_named(cluster: Any, tmp_path: Path) -> None:
    missing = str(tmp_path / "film.mkv")
    executor = open_ray(cluster, WorkSpec(TARGET, {"folder": str(tmp_path)}, (missing,)))
    with pytest.raises(SourceError, match=rf"node \S+-[0-9a-f]{{6}} does not see the file \({missing}\)"), executor:
        pass


@pytest.mark.slow
def test_the_loss_of_a_node_costs_no_task(cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go, begun = tmp_path / "go", [tmp_path / f"begun{n}" for n in range(3)]
    waits = [Task(n, {"do": "wait_for", "begun": str(begun[n]), "until": str(go)}, 100) for n in range(3)]
    events: list[Event] = []
    with open_ray(cluster, WorkSpec(TARGET, {"folder": str(tmp_path)})) as executor:
        victim = cluster.add_node(**NODE)
        until(lambda: len(executor.workers()) == 3, "the new node is not seen")
        for event in run_tasks(executor, waits, gate=Gate()):
            events.append(event)
            if sum(event.kind == "started" for event in events) == 3 and not go.exists():
                until(lambda: all(file.exists() and file.read_text() for file in begun), "not begun")
                pids = [int(file.read_text()) for file in begun]
                cluster.remove_node(victim, allow_graceful=False)
                until(partial(any_is_dead, pids), "a worker outlives its node")
                go.touch()
        until(lambda: len(executor.workers()) == 2, "a dead node counts as a worker")
    assert results(events) == {0: "waited", 1: "waited", 2: "waited"}
    assert len(diary(tmp_path, "begin")) == 4
    assert sum(event.kind == "started" for event in events) == 4, "a task that moved starts again"
    assert "raylet" not in capsys.readouterr().out


def test_the_loss_of_a_ray_worker_costs_no_task(cluster: Any, tmp_path: Path) -> None:
    go, begun = tmp_path / "go", tmp_path / "begun"
    events: list[Event] = []
    with open_ray(cluster, WorkSpec(TARGET, {"folder": str(tmp_path)})) as executor:
        for event in run_tasks(
            executor, [Task(0, {"do": "wait_for", "begun": str(begun), "until": str(go)}, 1)], gate=Gate()
        ):
            events.append(event)
            if not go.exists():
                until(lambda: begun.exists() and begun.read_text(), "not begun")
                kill_parent_of(int(begun.read_text()))
                go.touch()
    assert results(events) == {0: "waited"}
    assert {event.attempt for event in events} == {1}, "Ray sees to it"


@pytest.mark.slow
def test_a_cluster_of_ones_own_ends_with_the_block(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    spec, gate = WorkSpec(TARGET, {"folder": str(tmp_path)}), Gate()
    handler, folders_before = signal.getsignal(signal.SIGTERM), set(Path("/tmp").glob("sr-*"))
    before = set(psutil.Process().children(recursive=True))
    with RayExecutor(spec, "local", 1, 0, "shared", gate=gate, patience_s=PATIENCE_S) as executor:
        folders = set(Path("/tmp").glob("sr-*")) - folders_before
        ours = set(psutil.Process().children(recursive=True)) - before
        assert any("gcs_server" in child.name() for child in ours)
        assert len(folders) == 1
        assert results(run(executor, squares(2))) == {0: 0, 1: 1}
    until(lambda: not any(is_alive(child.pid) for child in ours), "Ray lives on")
    assert not any(folder.exists() for folder in folders)
    assert signal.getsignal(signal.SIGTERM) is handler


def test_without_a_cluster_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = WorkSpec(TARGET, {"folder": str(tmp_path)})

    def opened(address: str) -> None:
        with RayExecutor(spec, address, 1, 0, "shared", gate=Gate(), patience_s=1):
            pytest.fail("there is none")

    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match=r"no Ray cluster: Connection refused \(ray 127.0.0.1:9\). Start one"):
        opened("127.0.0.1:9")
    with pytest.raises(ConfigError, match="auto, local or HOST:PORT"):
        opened("somewhere")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'streamsr\[cluster\]'"):
        opened("auto")
