"""A chunked job before its first chunk: decided, planned, and what makes it this job when it is taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import cast

from pipelines.chunk import TARGET, ChunkSetup
from pipelines.chunk_plan import Film, look_through
from pipelines.decide import Job, choose_means, decide
from streamsr.chunks.executor import WorkSpec
from streamsr.chunks.identity import hash_source, job_identity
from streamsr.chunks.workdir import WorkDir, known_sources, open_workdir
from streamsr.config import JobConfig, Precision
from streamsr.errors import Interrupted
from streamsr.models.catalog import known
from streamsr.models.locations import find
from streamsr.report import Watcher
from streamsr.upscale.device import precision_name

NOT_IN_IDENTITY = {"threads", "description"}
"""Of the encoder's settings: they decide how fast it is, and how it is called."""
READING_NOTICE_S = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """A chunked job that is decided and planned. `folder`: for its parts and its journal."""

    job: Job
    film: Film
    setup: ChunkSetup
    folder: Path

    @property
    def spec(self) -> WorkSpec:
        """What the workers do, and the files that they need for it."""
        setup = self.setup
        return WorkSpec(TARGET, setup, (setup.source,) if setup.is_named else (setup.source, setup.model))

    def missing(self, work: WorkDir) -> int:
        """Chunks that are not finished."""
        return len(self.film.plan.chunks) - len(work.done)

    def stopped(self, work: WorkDir) -> Interrupted:
        """The word for a job that the user stopped."""
        what = f"stopped: {len(work.done)} of {len(self.film.plan.chunks)} chunks are finished"
        remedy = "Run the same command again to go on." if work.done else "Nothing was written."
        return Interrupted(what, where=str(self.folder), remedy=remedy)


def prepare(cfg: JobConfig, source_path: Path, target_path: Path, watcher: Watcher) -> Order:
    """What is decided and planned, and said to the user, before any work. Writes nothing. Raises StreamSRError."""
    means = choose_means(cfg.upscale, watcher)
    film = look_through(cfg, source_path, means.plan.kind, watcher.notice)
    job = decide(cfg, film.info, film.origin, means, target_path)
    chunks = film.plan.chunks
    lines = (f"{len(chunks)} chunks, {film.frames} frames, of about {cfg.chunks.chunk_s:g} s each", *film.plan.notes)
    for line in (*job.choices(), *lines):
        watcher.notice(line)
    network = means.network
    is_named = known(network.name) is not None and find(network.name) == network.path
    setup = ChunkSetup(
        source=str(source_path.absolute()),
        source_bytes=source_path.stat().st_size,
        span=cfg.source,
        treatment=job.treatment,
        precision=cast(Precision, precision_name(means.plan.dtype)),
        model=network.name if is_named else str(network.path.absolute()),
        is_named=is_named,
        model_sha256=network.sha256,
        denoise=network.denoise,
        patience_s=cfg.run.patience_s,
    )
    folder = cfg.chunks.work_dir or target_path.with_name(f".{target_path.name}.chunks")
    return Order(job, film, setup, Path(folder).absolute())


@contextmanager
def open_work(order: Order, suffix: str, watcher: Watcher) -> Iterator[tuple[Order, WorkDir]]:
    """The order, with the tiles of earlier runs, and its work folder. After a failure finished chunks are kept, and a
    line says how to go on; without any, nothing is left behind. Raises ConfigError where the folder is another job's,
    SourceError."""
    source = hash_source(Path(order.setup.source), known_sources(order.folder), _telling(watcher))
    job, treatment = order.job, order.setup.treatment
    chosen = {
        field.name: getattr(treatment.settings, field.name)
        for field in fields(treatment.settings)
        if field.name not in NOT_IN_IDENTITY
    }
    identity = job_identity(
        job.cfg,
        source,
        suffix=suffix,
        model=job.means.network.name,
        model_sha256=order.setup.model_sha256,
        encoder=chosen,
        plan={
            "chunks": len(order.film.plan.chunks),
            "frames": order.film.frames,
            "precision": order.setup.precision,
            "network_scale": treatment.target.network_scale,
        },
    )
    resume = job.cfg.chunks.resume
    with open_workdir(order.folder, identity, resume, source=source, notice=watcher.notice) as work:
        try:
            yield _with_tile(order, work), work
        except BaseException as error:
            if not work.done:
                work.remove()
            elif not isinstance(error, Interrupted):  # which says it itself
                num = len(order.film.plan.chunks)
                where = f"{len(work.done)} of {num} chunks are finished and kept in {order.folder}"
                watcher.notice(f"{where}: run the same command again to go on")
            raise


def _telling(watcher: Watcher) -> Callable[[int, int], None]:
    """Says now and then how far the reading of a large file has come."""
    due_s = time.monotonic() + READING_NOTICE_S

    def tell(done: int, total: int) -> None:
        nonlocal due_s
        if time.monotonic() >= due_s:
            due_s += READING_NOTICE_S
            watcher.notice(f"reading the source for its hash: {done / 1e9:.1f} of {total / 1e9:.1f} GB")

    return tell


def _with_tile(order: Order, work: WorkDir) -> Order:
    """All chunks in the same tiles, whatever memory is free in this run: not every network gives the same pixels."""
    budget = order.setup.treatment.budget
    before = work.notes("tile")
    if before:
        budget = replace(budget, tile=before[0]["tile"])
    else:
        work.note("tile", tile=budget.tile)
    treatment = replace(order.setup.treatment, budget=budget)
    setup, job = replace(order.setup, treatment=treatment), replace(order.job, treatment=treatment)
    return replace(order, setup=setup, job=job)
