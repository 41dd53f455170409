"""The executor of a chunked job: processes of this machine, or a Ray cluster."""

from __future__ import annotations

from pipelines.chunk_workers import Staff
from streamsr.chunks.executor import Executor, WorkSpec
from streamsr.chunks.local import LocalExecutor, local_places
from streamsr.config import JobConfig
from streamsr.runtime.crew import Crew


def open_executor(cfg: JobConfig, spec: WorkSpec, staff: Staff, crew: Crew) -> Executor:
    """To be entered as a with-block, inside that of `crew`. On a cluster each task gets the threads and the share of a
    GPU that a worker of this machine would have."""
    if cfg.chunks.ray is None:
        return open_local(cfg, spec, staff, crew)
    from streamsr.chunks.cluster import RayExecutor

    gpus = 1 / staff.per_device if staff.devices[0].startswith("cuda") else 0.0
    patience_s = cfg.run.patience_s
    return RayExecutor(
        spec, cfg.chunks.ray, staff.threads, gpus, cfg.chunks.transport, gate=crew.gate, patience_s=patience_s
    )


def open_local(cfg: JobConfig, spec: WorkSpec, staff: Staff, crew: Crew) -> Executor:
    """Processes of this machine, as many as `staff` says."""
    places = local_places(staff.devices, staff.per_device, staff.cores)
    return LocalExecutor(spec, places, crew, cfg.run.patience_s)
