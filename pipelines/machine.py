"""What this machine is made of: processor, cores, memory, disks, GPUs."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from streamsr.models.locations import cache_dir
from streamsr.runtime.memory import available_memory

CGROUP = Path("/sys/fs/cgroup")
INSTRUCTION_SETS = ("avx2", "avx512", "avx512_bf16", "amx_tile")


def machine_facts() -> dict[str, str]:
    """Name -> value, in the order to show."""
    sets = [name for name in INSTRUCTION_SETS if getattr(torch.cpu, f"_is_{name}_supported", bool)()]
    return {
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "processor": processor_name(),
        "cores": _cores_text(),
        "instruction sets": ", ".join(sets) or f"none of {', '.join(INSTRUCTION_SETS)}",
        "memory": f"{_gigabytes(available_memory())} free of {_gigabytes(total_memory())}",
        "temporary files": _disk_text(Path(tempfile.gettempdir())),
        "weights cache": _disk_text(cache_dir()),
    }


def processor_name() -> str:
    """The model in the maker's words."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores(cgroup: Path = CGROUP) -> float:
    """Cores this process may use: its CPU affinity, or less where a container's quota says so."""
    cores: float = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        if (cgroup / "cpu.max").is_file():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if quota.strip() not in ("max", "-1"):
            cores = min(cores, int(quota) / int(period))
    except (OSError, ValueError):
        return cores
    return cores


def total_memory() -> int:
    """Bytes of the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def gpu_facts() -> list[dict[str, Any]]:
    """A record per device that torch can compute on beside the CPU; empty when there is none."""
    gpus: list[dict[str, Any]] = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            major, minor = torch.cuda.get_device_capability(number)
            gpus.append(
                {
                    "device": f"cuda:{number}",
                    "name": torch.cuda.get_device_name(number),
                    "free_bytes": free,
                    "total_bytes": total,
                    "capability": f"{major}.{minor}",
                }
            )
    if torch.backends.mps.is_available():
        gpus.append({"device": "mps", "name": processor_name()})
    return gpus


def no_gpu_reason() -> str:
    """Why torch computes on no GPU here."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    try:
        torch.zeros(1, device="cuda")
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0].partition(". Please")[0].partition(" from http")[0]
    return "no CUDA device is visible"


def nvidia_driver() -> str | None:
    """Version of the kernel's NVIDIA driver; None where there is none."""
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return None


def _cores_text() -> str:
    usable, present = usable_cores(), os.cpu_count() or 1
    return f"{usable:g}" if usable == present else f"{usable:g} usable of {present}"


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB"


def _disk_text(folder: Path) -> str:
    """Free space at the folder, which need not exist yet."""
    existing = next((place for place in (folder, *folder.parents) if place.is_dir()), None)
    if existing is None:
        return f"{folder}: no such disk"
    note = "" if os.access(existing, os.W_OK) else ", not writable"
    return f"{folder}: {_gigabytes(shutil.disk_usage(existing).free)} free{note}"
