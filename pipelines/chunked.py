"""A long film in chunks: planned, spread over many workers, resumed where it was left, joined to one file."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipelines.chunk import ChunkDone, ChunkTask
from pipelines.chunk_executor import open_executor, open_local
from pipelines.chunk_order import Order, open_work, prepare
from pipelines.chunk_progress import ChunkProgress, ChunkWatcher
from pipelines.chunk_report import Phases, chunked_report, record_of
from pipelines.chunk_workers import Staff, choose_staff, with_gpus
from pipelines.files import check_target
from pipelines.upscale import open_target
from streamsr.chunks.executor import Task
from streamsr.chunks.schedule import run_tasks
from streamsr.chunks.workdir import WorkDir
from streamsr.config import JobConfig
from streamsr.display.words import size_text, time_text
from streamsr.media.join import joined
from streamsr.media.parts import template_of
from streamsr.media.sink import Sink
from streamsr.report import Report
from streamsr.runtime.crew import Crew
from streamsr.runtime.interrupt import interrupts
from streamsr.runtime.memory import PeakMemory


def chunk_file(cfg: JobConfig, source_path: Path, target_path: Path, watcher: ChunkWatcher) -> Report:
    """Upscale one file chunk by chunk, join, verify, put it in place. Raises StreamSRError; finished chunks are kept
    then, and the same call goes on with the rest."""
    started = time.monotonic()
    check_target(target_path, overwrite=cfg.output.overwrite)
    with PeakMemory() as memory:
        order = prepare(with_gpus(cfg), source_path, target_path, watcher)
        with open_work(order, target_path.suffix.lower(), watcher) as (order, work):
            with open_target(order.job, target_path) as sink:
                with Crew(cfg.run.patience_s, name="main") as crew:  # innermost: ends before anything its stages use
                    staff = choose_staff(order.job, order.missing(work), partial(measure, order, crew))
                    watcher.notice(staff.why)
                    planned_s = time.monotonic()
                    progress = make_chunks(order, staff, work, crew, watcher)
                    worked_s = time.monotonic()
                    join(order, work, progress, sink, crew)
                joined_s = time.monotonic()
                phases = Phases(planned_s - started, worked_s - planned_s, joined_s - worked_s, joined_s - started)
                report = chunked_report(order, sink, work, progress, staff, phases, memory.peak_bytes)
            work.remove()
    watcher.done(report)
    return report


def make_chunks(order: Order, staff: Staff, work: WorkDir, crew: Crew, watcher: ChunkWatcher) -> ChunkProgress:
    """Makes all chunks that are not finished, and notes each in the journal. The first Ctrl-C ends after those in
    flight, the second at once: raises Interrupted. Raises what run_tasks raises."""
    frames = {index: entry.extra["decoded"]["frames"] for index, entry in work.done.items()}
    progress = ChunkProgress(Path(order.setup.source).name, order.film.plan.chunks, frames, watcher)
    tasks = []
    for chunk in order.film.plan.chunks:
        if chunk.index not in work.done:
            part = str(work.part_path(chunk.index, attempt=1))
            tasks.append(Task(chunk.index, ChunkTask(chunk, part), chunk.frames, part))
    if not tasks:
        return progress
    parts, is_stopping = {task.key: Path(task.output) for task in tasks}, False
    with (
        open_executor(order.job.cfg, order.spec, staff, crew) as executor,
        interrupts(first=executor.drain, second=lambda: crew.gate.abort(order.stopped(work))),
    ):
        progress.tell("starting", executor.workers())
        for event in run_tasks(executor, tasks, gate=crew.gate):
            if executor.is_draining and not is_stopping:
                is_stopping = True
                watcher.notice("stopping: chunks under way are finished; Ctrl-C again stops at once")
            if event.kind == "done":
                result: ChunkDone = event.result
                facts = result.facts
                path, found = (parts[event.key], facts.as_json()) if facts else (None, {})
                work.mark_done(event.key, path, found, record_of(event, result))
            progress.see(event, executor.workers())
    if order.missing(work):
        raise order.stopped(work)
    return progress


def join(order: Order, work: WorkDir, progress: ChunkProgress, sink: Sink, crew: Crew) -> None:
    """The parts and all else that the source holds, into the target, verified. Only a second Ctrl-C stops it."""
    paths = [path for _, entry in sorted(work.done.items()) if (path := entry.path) is not None]
    with interrupts(first=lambda: None, second=lambda: crew.gate.abort(order.stopped(work))):
        crew.run(lambda: sink.write(progress.joining(joined(paths)), lambda: template_of(paths[0])), "join")


def measure(order: Order, crew: Crew, staff: Staff) -> ChunkDone:
    """The sample of the film, upscaled for real by one worker. Raises what run_tasks raises."""
    with tempfile.TemporaryDirectory(prefix="streamsr-sample-") as folder:
        part = str(Path(folder) / "sample.part")
        task = Task(0, ChunkTask(order.film.sample(), part), 1, part)
        one = replace(staff, devices=staff.devices[:1], per_device=1, cores=staff.threads)
        with open_local(order.job.cfg, order.spec, one, crew) as executor:
            results = [event.result for event in run_tasks(executor, [task], gate=crew.gate) if event.kind == "done"]
    result: ChunkDone = results[0]
    return result


def plan_file(
    cfg: JobConfig, source_path: Path, target_path: Path, watcher: ChunkWatcher
) -> tuple[list[tuple[str, ...]], list[tuple[str, str]]]:
    """Rows of the chunks (see chunk_plan.COLUMNS), and what to expect by name, from a sample upscaled for real.
    Writes nothing. Raises StreamSRError."""
    order = prepare(with_gpus(cfg), source_path, target_path, watcher)
    with Crew(cfg.run.patience_s, name="main") as crew:
        staff = choose_staff(order.job, len(order.film.plan.chunks), partial(measure, order, crew))
        sample = staff.sample or measure(order, crew, staff)
    return order.film.rows(), estimate(order, staff, sample)


def estimate(order: Order, staff: Staff, sample: ChunkDone) -> list[tuple[str, str]]:
    """Name and value of what a job will take, if all of the film is like the sample."""
    frames, seconds = sample.decoded.frames, sample.seconds
    facts = [("workers", staff.why), ("planning", f"{order.film.planning_s:.1f} s")]
    if not sample.facts or not frames:
        return [*facts, ("sample", "holds no picture: nothing can be estimated")]
    rate = frames / max(1e-3, seconds["total"] - seconds["open"])
    workers = 1 if order.job.cfg.chunks.ray is not None else staff.per_device * len(staff.devices)
    size = sample.facts.num_bytes / frames * order.film.frames
    return [
        *facts,
        ("sample", f"{frames} frames in {seconds['total']:.1f} s, {rate:.2f} frames/s by one worker"),
        ("time", f"about {time_text(order.film.frames / rate / workers)} with {workers} at once"),
        ("size", f"about {size_text(size)} of video"),
    ]
