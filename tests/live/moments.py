"""Statuses of made-up streams."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from streamsr.live.stats import COUNTERS, Percentiles, StreamStatus, TargetStatus

TARGET = TargetStatus("rtmp://***@host/app/***", "live", packets=900, num_bytes=1_234_567, dropped=0, reconnects=1)
STREAM = StreamStatus(
    name="front",
    source="rtsp://***@10.0.0.5/1",
    state="live",
    model="lite",
    size_in="640x360",
    size_out="2560x1440",
    uptime_s=3723.5,
    fps_in=25.0,
    fps_out=24.8,
    av_offset_ms=-3.0,
    latency={"upscale": Percentiles(31.0, 40.0, 1000), "total": Percentiles(62.0, 95.0, 1000)},
    counters=dict.fromkeys(COUNTERS, 0) | {"pictures_in": 93_000, "dropped_newest": 2, "dropped_stale": 1},
    targets=(TARGET,),
)


def stream(**changed: Any) -> StreamStatus:
    return replace(STREAM, **changed)


def target(**changed: Any) -> TargetStatus:
    return replace(TARGET, **changed)
