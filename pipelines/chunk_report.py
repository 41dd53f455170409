"""The report of a chunked job: that of `upscale`, and what its chunks and workers took."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pipelines.chunk import ChunkDone
from pipelines.chunk_order import Order
from pipelines.chunk_progress import ChunkProgress
from pipelines.chunk_workers import Staff
from pipelines.verdict import Decoded, Measured, report_on
from streamsr.chunks.executor import Event
from streamsr.chunks.workdir import Done, WorkDir
from streamsr.media.damage import Damage
from streamsr.media.encode import EncodeStats
from streamsr.media.sink import Sink
from streamsr.report import Report
from streamsr.runtime.meters import Reading

STAGES = ("decode", "upscale", "encode")


@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds of a job, one after the other. `planning` is also hashing and opening the work folder."""

    planning: float
    chunks: float
    joining: float
    elapsed: float


def record_of(event: Event, result: ChunkDone) -> dict[str, Any]:
    """What the journal keeps of a finished chunk beside its facts, as plain JSON values."""
    return {
        "worker": event.worker,
        "attempt": event.attempt,
        "seconds": result.seconds | {"total": event.seconds or result.seconds["total"]},
        "peak_bytes": result.peak_bytes,
        "decoded": asdict(result.decoded),
    }


def chunked_report(
    order: Order, sink: Sink, work: WorkDir, progress: ChunkProgress, staff: Staff, phases: Phases, peak_bytes: int
) -> Report:
    """Raises FrameMismatch as `report_on` does."""
    done = work.done
    extras = [done[index].extra for index in sorted(done)]
    decoded = _together([_decoded(extra["decoded"]) for extra in extras])
    stages = {stage: sum(extra["seconds"][stage] for extra in extras) for stage in STAGES}
    readings = {stage: Reading(decoded.frames, seconds, 0.0, 0.0) for stage, seconds in stages.items()}
    encoded = EncodeStats(
        decoded.frames, sum(entry.facts.get("num_bytes", 0) for entry in done.values()), stages["encode"]
    )
    report = report_on(order.job, sink, decoded, Measured(encoded, readings, peak_bytes, None, phases.elapsed))
    facts: dict[str, Any] = {
        "planned": len(order.film.plan.chunks),
        "from_earlier_runs": len(done) - sum(tally.chunks for tally in progress.workers.values()),
        "retries": progress.retries,
        "planning_s": phases.planning,
        "working_s": phases.chunks,
        "joining_s": phases.joining,
        "workers": {name: _tally(asdict(tally), phases.chunks) for name, tally in sorted(progress.workers.items())},
        "choice": staff.why,
        "each": [_row(index, done[index]) for index in sorted(done)],
    }
    used = [row["utilisation"] for row in facts["workers"].values()]
    share = f", workers busy {sum(used) / len(used):.0%}" if used else ""
    summary = f"{report.summary}; {len(done)} chunks, {progress.retries} retries{share}"
    return replace(report, summary=summary, facts=report.facts | {"chunks": facts})


def _row(index: int, entry: Done) -> dict[str, Any]:
    extra = entry.extra
    return {
        "chunk": index,
        "frames": extra["decoded"]["frames"],
        "bytes": entry.facts.get("num_bytes", 0),
        "worker": extra["worker"],
        "attempt": extra["attempt"],
        "seconds": extra["seconds"],
    }


def _tally(values: dict[str, Any], working_s: float) -> dict[str, Any]:
    return values | {"utilisation": min(1.0, values["busy_s"] / max(working_s, 1e-6))}


def _decoded(values: dict[str, Any]) -> Decoded:
    span = values["span"]
    return Decoded(
        values["frames"], tuple(span) if span else None, Damage(**values["damage"]), tuple(values["notices"])
    )


def _together(parts: list[Decoded]) -> Decoded:
    """What came out of the whole film."""
    spans = [part.span for part in parts if part.span]
    damage = Damage()
    for part in parts:
        for field in fields(Damage):
            before, more = getattr(damage, field.name), getattr(part.damage, field.name)
            setattr(damage, field.name, before or more if isinstance(before, bool | str) else before + more)
    notices = dict.fromkeys(line for part in parts for line in part.notices)
    return Decoded(
        frames=sum(part.frames for part in parts),
        span=(min(first for first, _ in spans), max(end for _, end in spans)) if spans else None,
        damage=damage,
        notices=tuple(notices),
    )
