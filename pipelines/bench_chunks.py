"""`bench --chunked`: what more workers gain, what cutting and joining costs, and, simulated, where the walls are.

Ratios are of things measured side by side in one run, A B A B. Only the rows called "simulation" are computed."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.bench import SAMPLE, Record, Silent
from pipelines.bench_encode import EncodeSetup, encoding_rates, usable_core_numbers
from pipelines.bench_simulate import FILM_S, simulated_records
from pipelines.chunk import ChunkDone, ChunkTask
from pipelines.chunk_order import Order, open_work, prepare
from pipelines.upscale import open_target, upscale_file
from streamsr.chunks.executor import Event, Executor, Place, Task, Work, WorkSpec
from streamsr.chunks.local import LocalExecutor, local_places
from streamsr.chunks.schedule import run_tasks
from streamsr.chunks.simulate import Conditions, Measured
from streamsr.config import JobConfig
from streamsr.errors import ConfigError
from streamsr.frames import Packet
from streamsr.media.join import joined
from streamsr.media.part_file import PartReader
from streamsr.media.parts import template_of, write_part
from streamsr.media.repeat import repeat_clip
from streamsr.runtime.crew import Crew

LONG_S = 600.0
"""Length of the film whose planning and joining is measured."""
WORKERS, CHUNKS, TURNS = 2, 4, 2
STORAGE_RATE = 1e9
"""Of the simulated storage, bytes per second: assumed, not measured."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What all measurements share. A chunk gets about `seconds` of work. `folder` is temporary."""

    cfg: JobConfig
    clip: Path
    seconds: float
    folder: Path
    crew: Crew

    def order(self, film: Path, chunk_s: float) -> Order:
        chunks = self.cfg.chunks.model_copy(update={"chunk_s": chunk_s, "work_dir": None, "resume": None})
        cfg = self.cfg.model_copy(update={"chunks": chunks})
        return prepare(cfg, film, self.folder / f"{film.stem}-out.mp4", Silent())

    def film(self, seconds: float) -> Path:
        """The clip, over and over."""
        path = self.folder / f"film-{seconds:.0f}{self.clip.suffix}"
        repeat_clip(self.clip, path, seconds)
        return path

    def executor(self, spec: WorkSpec, device: str) -> LocalExecutor:
        places = local_places([device], WORKERS, len(usable_core_numbers()))
        return LocalExecutor(spec, places, self.crew, self.cfg.run.patience_s)

    def run(self, executor: Executor, tasks: Sequence[Task]) -> tuple[float, list[Event]]:
        """(seconds from the first start to the last end, the ends). Raises what run_tasks raises."""
        begun, ends = 0.0, []
        for event in run_tasks(executor, tasks, gate=self.crew.gate):
            begun = begun or time.perf_counter()
            ends += [event] if event.kind == "done" else []
        return time.perf_counter() - begun, ends


@dataclass(frozen=True, slots=True)
class RunSetup:
    """Whole jobs of `film`, for `open_runs`."""

    cfg: JobConfig
    film: Path
    folder: Path


@contextmanager
def open_runs(setup: RunSetup, place: Place) -> Iterator[Work]:
    """Work on (start, duration) in seconds: an unchunked job of that part of the film; the result is its frames."""

    def upscale(span: tuple[float, float], tell: Callable[[int], None]) -> int:
        source = setup.cfg.source.model_copy(update={"start_s": span[0], "duration_s": span[1]})
        upscaling = setup.cfg.upscale.model_copy(update={"device": place.device})
        cfg = setup.cfg.model_copy(update={"source": source, "upscale": upscaling})
        target = setup.folder / f"{place.worker.replace(':', '-')}.mp4"
        frames = upscale_file(cfg, setup.film, target, Silent()).frames_out
        target.unlink()
        return frames

    yield upscale


def run(cfg: JobConfig, clip: Path | None, seconds: float, report: Callable[[str], None]) -> list[Record]:
    """Measurements with `clip` (default: the sample that comes with streamsr), chunks of about `seconds` of work: the
    shorter they are, the more their beginnings and ends weigh. Needs room for an upscaled film of LONG_S, twice, in
    the temporary folder. `report` is told what is being measured. Raises StreamSRError."""
    if clip is None and not SAMPLE.is_file():
        raise ConfigError("the sample clip is not installed", where=str(SAMPLE), remedy="Name a clip with --clip FILE.")
    records: list[Record] = []
    with tempfile.TemporaryDirectory(prefix="streamsr-bench-") as folder, Crew(cfg.run.patience_s, "bench") as crew:
        ground = Ground(cfg, (clip or SAMPLE).absolute(), seconds, Path(folder), crew)
        order = ground.order(ground.clip, LONG_S)
        settings, cores = order.job.treatment.settings, len(usable_core_numbers())
        if order.job.means.plan.kind == "cpu":
            report(f"{settings.encoder} on 1 to {cores} cores")
            rates = encoding_rates(EncodeSetup(ground.clip, settings), seconds, crew)
            records += encoder_records(rates, settings.encoder, f"{settings.width}x{settings.height}")
        report(f"{WORKERS} workers, and {WORKERS} independent jobs")
        record, chunks, start_s, part = workers_record(ground, order)
        records.append(record)
        report(f"planning and joining {LONG_S:g} s of film")
        pace = statistics.median(end.seconds / end.result.decoded.frames for end in chunks)
        record, conditions = ends_record(ground, part, pace / WORKERS, start_s)
        records.append(record)
    return records + simulated_records([_measured(order, ground.clip, end) for end in chunks], conditions)


def encoder_records(rates: dict[str, float], encoder: str, size: str) -> list[Record]:
    """Rows of what `encoding_rates` gives."""
    one, records = rates["1"], []
    for name, rate in rates.items():
        is_one = name == "threads"
        most = max(int(other) for other in rates if other != "threads")
        count = most if is_one else int(name)
        what = f"one {encoder}, {count} threads" if is_one else f"{count} x {encoder}, 1 thread each"
        record: Record = {"what": what, "size": size, "ms": round(1e3 / rate, 1), "fps": round(rate, 2)}
        record |= {"against": f"one on one core {one:.2f} fps", "ratio": f"{rate / one:.2f}x"}
        records.append(record | {"note": f"{rate / one / count:.2f} of {count} cores"})
    return records


def workers_record(ground: Ground, order: Order) -> tuple[Record, list[Event], float, Path]:
    """Chunks by two workers against two independent jobs of half the film each, at the same time. Also: what became of
    the chunks, how long workers take to start, and one part."""
    device, part = str(order.job.means.plan.devices[0]), ground.folder / "one.part"
    entered = time.perf_counter()
    with ground.executor(order.spec, device) as executor:
        wall_s, (first,) = ground.run(executor, [Task(0, ChunkTask(order.film.sample(), str(part)), 1.0)])
        start_s = time.perf_counter() - entered - wall_s
    rate = order.film.frames / float(order.film.info.duration_s or 1)
    pace = (first.seconds - first.result.seconds["open"]) / first.result.decoded.frames
    # Whole rounds of the clip, each of which begins with a key frame: uneven chunks would measure their own unevenness.
    clip_s = float(order.film.info.duration_s or 1)
    chunk_s = clip_s * max(1, round(ground.seconds / pace / rate / clip_s))
    film = ground.film(CHUNKS * chunk_s)
    order = ground.order(film, chunk_s)
    tasks = [_task(order, index, ground.folder / f"{index}.part") for index in range(len(order.film.plan.chunks))]
    half = float(order.film.info.duration_s or 0) / 2
    halves = [Task(n, (n * half, half if n == 0 else 2 * half), 1.0) for n in range(WORKERS)]
    runs = WorkSpec("pipelines.bench_chunks:open_runs", RunSetup(ground.cfg, film, ground.folder))
    walls: dict[str, list[float]] = {"chunked": [], "alone": []}
    with ground.executor(order.spec, device) as chunked, ground.executor(runs, device) as alone:
        ground.run(chunked, [_task(order, n, ground.folder / f"warm{n}.part") for n in range(WORKERS)])
        ground.run(alone, [Task(n, (0.0, 0.2), 1.0) for n in range(WORKERS)])
        for _ in range(TURNS):
            wall_s, ends = ground.run(chunked, tasks)
            walls["chunked"].append(wall_s)
            wall_s, jobs = ground.run(alone, halves)
            walls["alone"].append(wall_s)
    ours, theirs = statistics.median(walls["chunked"]), statistics.median(walls["alone"])
    done, frames = sum(end.result.decoded.frames for end in ends), sum(end.result for end in jobs)
    settings = order.job.treatment.settings
    record: Record = {
        "what": f"{len(tasks)} chunks, {WORKERS} workers",
        "size": f"{settings.width}x{settings.height}",
        "ms": round(ours / done * 1e3, 1),
        "fps": round(done / ours, 2),
        "against": f"{WORKERS} independent jobs {frames / theirs:.2f} fps",
        "ratio": f"{done / ours / (frames / theirs):.2f}x",
        "note": f"chunks of {ours / len(tasks) * WORKERS:.0f} s of work, {len(usable_core_numbers())} cores",
    }
    return record, ends, start_s, part


def ends_record(ground: Ground, part: Path, pace_s: float, start_s: float) -> tuple[Record, Conditions]:
    """Planning and joining of a long film, whose parts are copies of `part`, and the conditions of the simulated one;
    `pace_s`: seconds of work per frame, by all workers together."""
    film = ground.film(LONG_S)
    began = time.perf_counter()
    order = ground.order(film, 10.0)
    with open_work(order, ".mp4", Silent()):
        planned_s = time.perf_counter() - began
        copies = copies_of(part, order.film.frames, ground.folder)
        num_bytes = sum(path.stat().st_size for path in copies)
        target = ground.folder / "long-out.mp4"
        began = time.perf_counter()
        with open_target(order.job, target) as sink:
            ground.crew.run(lambda: sink.write(joined(copies), lambda: template_of(copies[0])), "join")
        joined_s = time.perf_counter() - began
    worked_s = pace_s * order.film.frames
    share = (planned_s + joined_s) / (planned_s + worked_s + joined_s)
    record: Record = {
        "what": f"planning and joining {LONG_S:g} s",
        "size": f"{order.film.frames} frames",
        "ms": round((planned_s + joined_s) * 1e3, 1),
        "against": f"upscaling by {WORKERS} workers about {worked_s:.0f} s",
        "ratio": f"{share:.2%} of the job",
        "note": f"planning {planned_s:.1f} s, joining {joined_s:.1f} s, {num_bytes / joined_s / 1e6:.0f} MB/s",
    }
    plan_s = planned_s * FILM_S / float(order.film.info.duration_s or LONG_S)
    return record, Conditions(plan_s, start_s, STORAGE_RATE, num_bytes / joined_s)


def copies_of(part: Path, frames: int, folder: Path) -> list[Path]:
    """Parts with the packets of `part`, one after the other in time, which hold `frames` pictures or some more."""
    copies = []
    with PartReader(part) as reader:
        index = reader.index
        length = int((index[:, 0] + index[:, 1]).max() - index[:, 0].min())
        for number in range(-(-frames // len(index))):

            def packets(shift: int = number * length) -> Iterator[Packet]:
                for data, pts, duration, is_keyframe in reader.packets():
                    yield Packet(data, pts + shift, pts + shift, duration, reader.time_base, is_keyframe)

            copies.append(folder / f"copy{number:05}.part")
            write_part(copies[-1], packets(), lambda: reader.template)
    return copies


def _task(order: Order, index: int, part: Path) -> Task:
    chunk = order.film.plan.chunks[index % len(order.film.plan.chunks)]
    return Task(int(index), ChunkTask(chunk, str(part)), chunk.frames, str(part))


def _measured(order: Order, clip: Path, end: Event) -> tuple[Measured, float]:
    """What one chunk took, and how long it plays, seconds."""
    result: ChunkDone = end.result
    played_s = result.decoded.frames / order.film.frames * float(order.film.info.duration_s or 1)
    source_bytes = clip.stat().st_size * result.decoded.frames // max(1, order.film.frames)
    part_bytes = result.facts.num_bytes if result.facts else 0
    return Measured(end.seconds, source_bytes, part_bytes), played_s
