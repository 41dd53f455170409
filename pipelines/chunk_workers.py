"""How many workers a job gets, and why."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipelines.chunk import ChunkDone
from pipelines.decide import Job
from pipelines.machine import usable_cores
from streamsr.config import JobConfig
from streamsr.errors import ConfigError
from streamsr.runtime.memory import available_memory
from streamsr.upscale.memory import HOST_CEILING, bytes_per_pixel, free_memory

PROGRAM_BYTES = 700 << 20
"""A process with torch, and its encoder's, before any picture."""
CONTEXT_BYTES = 1 << 30
"""What CUDA keeps for each process on a GPU."""
ENCODER_PICTURES = 48
"""Pictures that a software encoder holds for looking ahead and as references."""
CORES_PER_WORKER = 2
MEMORY_SHARE = 0.8
MOST_PER_GPU = 8


@dataclass(frozen=True, slots=True)
class Staff:
    """`per_device` workers on each of `devices` ("cpu", "cuda:1"), who share `cores`. `why` is one line for the user.
    `sample`: what was measured for the choice, if anything was."""

    devices: tuple[str, ...]
    per_device: int
    cores: int
    why: str
    sample: ChunkDone | None = None

    @property
    def threads(self) -> int:
        """Of each worker."""
        return max(1, self.cores // (self.per_device * len(self.devices)))


def with_gpus(cfg: JobConfig) -> JobConfig:
    """`cfg` with the device that `chunks.gpus` names. Raises ConfigError when another one is named too."""
    if not cfg.chunks.gpus:
        return cfg
    device = cfg.upscale.device
    if device not in ("auto", "cuda", f"cuda:{cfg.chunks.gpus}"):
        raise ConfigError(f"--gpus {cfg.chunks.gpus} and --device {device} exclude each other", remedy="Give one.")
    upscale = cfg.upscale.model_copy(update={"device": f"cuda:{cfg.chunks.gpus}"})
    return cfg.model_copy(update={"upscale": upscale})


def choose_staff(job: Job, num_chunks: int, measure: Callable[[Staff], ChunkDone]) -> Staff:
    """As many workers as were asked for; else what fills the cores of a machine without GPU, or, on GPUs, what a
    measured sample says. On a cluster: what one task gets; how many there are at a time is the cluster's business.
    `measure` upscales the sample with the staff it is given."""
    plan, asked, cores = job.means.plan, job.cfg.chunks.workers_per_gpu, max(1, math.floor(usable_cores()))
    devices = tuple(str(device) for device in plan.devices)
    if job.cfg.chunks.ray is not None:
        number = asked or (1 if plan.kind == "cuda" else max(1, cores // CORES_PER_WORKER))
        staff = Staff(devices, number, cores, "")
        share = f" and 1/{number} of a GPU" if plan.kind == "cuda" else ""
        return replace(staff, why=f"ray {job.cfg.chunks.ray}: {staff.threads} cores{share} for each task")
    if asked:
        return Staff(devices, asked, cores, f"{asked} {_workers(asked)} on {', '.join(devices)}, as asked")
    needed = -(-num_chunks // len(devices))
    if needed < 2:
        return Staff(devices, 1, cores, f"1 worker on {', '.join(devices)}: there is little left to do")
    most = _room(job) // len(devices)
    if plan.kind != "cuda":
        wanted = max(1, cores // CORES_PER_WORKER) if plan.kind == "cpu" else 1
        number = max(1, min(wanted, most, needed))
        reason = _reason(number, wanted, most, f"of {CORES_PER_WORKER} cores each")
        return Staff(devices, number, cores, f"{number} {_workers(number)} on {', '.join(devices)}: {reason}")
    sample = measure(Staff(devices, 1, cores, ""))
    wanted, measured = workers_to_fill(sample.seconds, max(1, cores // len(devices)))
    number = max(1, min(wanted, most, needed))
    reason = _reason(number, wanted, most, measured)
    return Staff(devices, number, cores, f"{number} {_workers(number)} per GPU: {reason}", sample)


def workers_to_fill(seconds: dict[str, float], cores: int) -> tuple[int, str]:
    """How many workers keep one GPU busy, with `cores` for them all, and why. `seconds`: ChunkDone's."""
    work_s = max(1e-3, seconds["total"] - seconds["open"])
    share = min(1.0, seconds["upscale"] / work_s)
    wanted = math.ceil(1 / max(share, 1 / MOST_PER_GPU) - 0.15)
    wanted = max(1, min(wanted, MOST_PER_GPU, cores // CORES_PER_WORKER))
    slowest = max(("decode", "upscale", "encode"), key=lambda stage: seconds[stage])
    return wanted, f"one alone keeps the GPU busy for {share:.0%} of its time, {slowest} is its slowest stage"


def _room(job: Job) -> int:
    """Workers for which there is memory, on the machine and on its devices together."""
    treatment, plan = job.treatment, job.means.plan
    width, height = treatment.info.upright_size
    need = bytes_per_pixel(job.means.network, plan.dtype.itemsize)
    call = width * height * need * treatment.budget.batch
    pictures = treatment.slot_bytes * (ENCODER_PICTURES + 8 * treatment.budget.batch)
    host = PROGRAM_BYTES + pictures + (min(call, HOST_CEILING) if plan.kind == "cpu" else 0)
    most = int(available_memory() * MEMORY_SHARE / host)
    if plan.kind == "cuda":
        room = min(free_memory(device) for device in plan.devices)
        most = min(most, len(plan.devices) * int(room * MEMORY_SHARE / (call + CONTEXT_BYTES)))
    return max(len(plan.devices), most)


def _reason(number: int, wanted: int, most: int, measured: str) -> str:
    if number == wanted:
        return measured
    return f"there is no memory for {wanted}" if number == most else f"there are no chunks for {wanted}"


def _workers(number: int) -> str:
    return "worker" if number == 1 else "workers"
