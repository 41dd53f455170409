"""What a running stream counts, and a picture of it at one moment for status lines, files and metrics."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

State = Literal["starting", "live", "away", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One target. `name` is its masked address; `error` the last one, masked, "" where there was none."""

    name: str
    state: State
    packets: int
    num_bytes: int
    dropped: int
    reconnects: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of a window of the last measurements, in milliseconds. `count`: how many there were."""

    p50_ms: float
    p99_ms: float
    count: int


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream at one moment. `source` is masked. `fps_in` and `fps_out` are over the last seconds. `latency` is by
    stage: decode, wait, upscale, encode, publish, and total (packet in -> packet out). `counters` as in `Counters`."""

    name: str
    source: str
    state: State
    model: str
    size_in: str
    size_out: str
    uptime_s: float
    fps_in: float
    fps_out: float
    av_offset_ms: float | None
    latency: dict[str, Percentiles]
    counters: dict[str, int]
    targets: tuple[TargetStatus, ...]
    error: str = ""


COUNTERS = (
    "pictures_in",
    "pictures_out",
    "pictures_held",  # shown again while the source was away
    "dropped_newest",  # replaced by a newer one before it was upscaled
    "dropped_stale",  # too old when its turn came
    "dropped_ingest",  # no slot was free in the ingest process
    "corrupt_packets",
    "audio_packets",
    "audio_silence",  # packets of silence put into gaps
    "audio_transcoded",
    "reconnects",  # of the source
    "encoder_restarts",
    "upscale_failures",
    "clock_jumps",
    "ladder_moves",
)


@dataclass
class Counters:
    """Counts of one stream by name (COUNTERS). Written and read by any thread."""

    _values: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, name: str, number: int = 1) -> None:
        with self._lock:
            self._values[name] += number

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._values)
