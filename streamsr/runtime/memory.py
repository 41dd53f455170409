"""How much memory there is, and how much a job takes in all its processes."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import threading
from pathlib import Path
from types import TracebackType

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that can be taken without swapping: what the machine has free, or less where a container limits it."""
    limits = [_machine_free(), *_cgroup_free()]
    return max(0, min(limits))


def tree_memory() -> int:
    """Bytes resident now in this process and its descendants. Shared slots, mapped by several, count once. On systems
    without /proc: the peak of this process plus that of its largest finished child."""
    sizes = [_resident(pid) for pid in _tree(os.getpid())]
    if not any(own for own, _ in sizes):
        unit = 1 if sys.platform == "darwin" else 1024
        both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(resource.getrusage(who).ru_maxrss for who in both) * unit
    return sum(own for own, _ in sizes) + max(shared for _, shared in sizes)


class PeakMemory:
    """With-block that samples `tree_memory` on a thread; `peak_bytes` is the highest value seen so far."""

    def __init__(self, interval_s: float = 0.25) -> None:
        self.peak_bytes = 0
        self._interval_s = interval_s
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="streamsr-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join(5.0)
        self._sample()

    def _watch(self) -> None:
        while not self._left.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        self.peak_bytes = max(self.peak_bytes, tree_memory())


def _machine_free() -> int:
    try:
        for line in (PROC / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    names = os.sysconf_names
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in names else "SC_PHYS_PAGES"
    return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")


def _cgroup_free() -> list[int]:
    """Limit less use, plus the page cache that the kernel would give up, of this process's group and its parents."""
    try:
        lines = (PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = CGROUP, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = CGROUP / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = Path(path.lstrip("/"))
        # Inside a container the path may be the host's, which is not mounted: the root is the container's own then.
        for folder in {root / group, *(root / parent for parent in group.parents), root}:
            found += _group_free(folder, *names)
    return found


def _group_free(folder: Path, limit_name: str, use_name: str, cache_name: str) -> list[int]:
    try:
        limit = (folder / limit_name).read_text().strip()
        use = int((folder / use_name).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return []
    return [] if limit == "max" else [int(limit) - use + int(statistics.get(cache_name, 0))]


def _tree(root: int) -> list[int]:
    """`root` and its descendants. The kernel lists children by the thread that started them."""
    found, open_ = [], [root]
    while open_:
        pid = open_.pop()
        found.append(pid)
        tasks = PROC / str(pid) / "task"
        with contextlib.suppress(OSError):  # whoever ends meanwhile has no children any more
            for thread in os.listdir(tasks):
                with contextlib.suppress(OSError):
                    open_ += [int(child) for child in (tasks / thread / "children").read_text().split()]
    return found


def _resident(pid: int) -> tuple[int, int]:
    """(own, shared) resident bytes of a process; zeros when it is gone."""
    try:
        text = (PROC / str(pid) / "status").read_text()
    except OSError:
        return 0, 0
    sizes = {
        key: int(value.split()[0]) * 1024
        for key, _, value in (line.partition(":") for line in text.splitlines())
        if key in ("RssAnon", "RssFile", "RssShmem")
    }
    return sizes.get("RssAnon", 0) + sizes.get("RssFile", 0), sizes.get("RssShmem", 0)
