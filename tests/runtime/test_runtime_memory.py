from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from streamsr.runtime import memory as module
from streamsr.runtime.crew import Crew
from streamsr.runtime.memory import PeakMemory, available_memory, tree_memory
from streamsr.runtime.slots import SlotRing
from tests.runtime import child_targets as targets

MIB = 1 << 20
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def test_available_memory_is_believable() -> None:
    assert 16 * MIB < available_memory() <= psutil.virtual_memory().total


@linux_only
def test_tree_memory_is_near_what_psutil_says() -> None:
    assert abs(tree_memory() - psutil.Process().memory_info().rss) < 64 * MIB


@linux_only
def test_shared_slots_count_once_and_children_count() -> None:
    size = 64 * MIB
    before = tree_memory()
    with PeakMemory(0.01) as memory, SlotRing(1, size) as ring, Crew(20.0) as crew:
        for start in range(0, size, MIB):  # in pieces: a large one might stay on this process' heap
            ring.memory(0)[start : start + MIB] = bytes(MIB)
        child = crew.process("child", targets.fill_and_hold, (ring,))
        assert child.recv(20) == "ready"
        together = tree_memory()
        assert psutil.Process(child.pid).memory_info().rss > size
        child.send(None, 20)
    assert size * 0.9 < together - before < size * 1.6
    assert memory.peak_bytes >= together - 4 * MIB


def test_peak_is_the_highest() -> None:
    with PeakMemory(0.005) as memory:
        block = bytearray(100 * MIB)
        block[::4096] = b"x" * len(block[::4096])
        high = tree_memory()
        time.sleep(0.1)
        del block
        time.sleep(0.05)
    assert memory.peak_bytes >= high - 8 * MIB


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB free, whose /proc and cgroup tree lie in tmp_path."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
    monkeypatch.setattr(module, "PROC", tmp_path / "proc")
    monkeypatch.setattr(module, "CGROUP", tmp_path / "cgroup")
    return tmp_path


def test_without_a_group_the_machine_is_the_limit(machine: Path) -> None:
    assert available_memory() == 8192 * MIB


@pytest.mark.parametrize("limit", ["max", str(2048 * MIB)])
def test_group_version_2(machine: Path, limit: str) -> None:
    (machine / "proc/self/cgroup").write_text("0::/box/job\n")
    group(
        machine / "cgroup/box",
        memory__max=limit,
        memory__current=1024 * MIB,
        memory__stat=f"anon 5\ninactive_file {512 * MIB}",
    )
    group(machine / "cgroup/box/job", memory__max="max", memory__current=5, memory__stat="anon 5")
    assert available_memory() == (8192 if limit == "max" else 1536) * MIB


def test_group_version_1_seen_from_inside_a_container(machine: Path) -> None:
    (machine / "proc/self/cgroup").write_text("9:cpu:/x\n4:memory:/docker/abc\n0::/\n")
    group(
        machine / "cgroup/memory",
        memory__limit_in_bytes=1000 * MIB,
        memory__usage_in_bytes=400 * MIB,
        memory__stat=f"total_inactive_file {100 * MIB}",
    )
    assert available_memory() == 700 * MIB


def test_an_overdrawn_group_has_nothing_left(machine: Path) -> None:
    (machine / "proc/self/cgroup").write_text("0::/\n")
    group(machine / "cgroup", memory__max=100, memory__current=200, memory__stat="anon 200")
    assert available_memory() == 0


def test_systems_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROC", tmp_path)
    assert available_memory() > 16 * MIB
    assert tree_memory() > 4 * MIB
    assert os.listdir(tmp_path) == []
