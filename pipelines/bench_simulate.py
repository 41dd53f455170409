"""Rows of `bench --chunked` that are computed: measured chunks, replayed over more workers than this machine has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice

from pipelines.bench import Record
from streamsr.chunks.simulate import Conditions, Measured, Simulation, first_wall, simulate, unequal
from streamsr.display.words import time_text

FILM_S, CHUNK_S = 7200.0, 10.0
WORKERS = (1, 2, 8, 32, 128, 512)
SPREAD = 0.3


def simulated_records(chunks: Sequence[tuple[Measured, float]], conditions: Conditions) -> list[Record]:
    """A film of FILM_S in chunks of CHUNK_S like `chunks` (each with how long it plays, seconds), by WORKERS of equal
    and of unequal speed."""
    film = list(islice(cycle(_stretched(chunk, played_s) for chunk, played_s in chunks), round(FILM_S / CHUNK_S)))
    runs = [simulate(film, [1.0] * num, conditions) for num in WORKERS]
    uneven = [simulate(film, unequal(num, SPREAD), conditions) for num in WORKERS[1:]]
    records = [_record(run, "") for run in runs] + [_record(run, f", speeds +-{SPREAD:.0%}") for run in uneven]
    wall = first_wall(runs)
    note = f"{wall.wall} is the wall from {wall.workers} workers on" if wall else f"none up to {WORKERS[-1]} workers"
    storage = f"storage assumed {conditions.storage_rate / 1e6:.0f} MB/s, joining measured"
    against = f"{storage} {conditions.join_rate / 1e6:.0f} MB/s"
    return [*records, {"what": "simulation: the wall", "against": against, "note": note}]


def _stretched(chunk: Measured, played_s: float) -> Measured:
    """The chunk as if it played for CHUNK_S."""
    factor = CHUNK_S / played_s
    source_bytes, part_bytes = round(chunk.source_bytes * factor), round(chunk.part_bytes * factor)
    return replace(chunk, seconds=chunk.seconds * factor, source_bytes=source_bytes, part_bytes=part_bytes)


def _record(run: Simulation, how: str) -> Record:
    return {
        "what": f"simulation: {run.workers} worker{'s' * (run.workers > 1)}{how}",
        "size": f"{FILM_S / 3600:g} h in {round(FILM_S / CHUNK_S)} chunks",
        "ms": round(run.wall_s * 1e3),
        "against": "one worker",
        "ratio": f"{run.speedup:.1f}x",
        "note": f"{time_text(run.wall_s)}, joining {time_text(run.join_s)}; busy {run.utilisation:.0%}; {run.wall}",
    }
