"""The metrics, read by Prometheus' own parser."""

from __future__ import annotations

from typing import Any

import pytest

from streamsr.live.metrics import prometheus
from streamsr.live.stats import COUNTERS, Percentiles, StreamStatus
from tests.live.moments import stream, target

parser = pytest.importorskip("prometheus_client.parser", reason="pip install prometheus-client")


def parsed(*statuses: StreamStatus) -> dict[str, Any]:
    """Family name -> family."""
    return {family.name: family for family in parser.text_string_to_metric_families(prometheus(statuses))}


def value(family: Any, **labels: str) -> float:
    found = [sample.value for sample in family.samples if labels.items() <= sample.labels.items()]
    assert len(found) == 1, family
    return float(found[0])


def test_all_that_a_status_holds_is_there() -> None:
    families = parsed(stream(), stream(name="yard", state="away", fps_in=0.0, targets=(target(dropped=7),)))
    assert value(families["streamsr_healthy"]) == 1
    assert value(families["streamsr_stream_info"], stream="front", model="lite", size_out="2560x1440") == 1
    assert value(families["streamsr_stream_state"], stream="yard", state="away") == 1
    assert value(families["streamsr_stream_state"], stream="yard", state="live") == 0
    assert value(families["streamsr_stream_fps_out"], stream="front") == 24.8
    assert value(families["streamsr_stream_uptime_seconds"], stream="front") == 3723.5
    assert value(families["streamsr_stream_av_offset_seconds"], stream="front") == -0.003
    latency = families["streamsr_stream_latency_seconds"]
    assert value(latency, stream="front", stage="total", quantile="0.99") == 0.095
    assert value(families["streamsr_stream_pictures_in"], stream="front") == 93_000
    assert value(families["streamsr_target_bytes"], stream="front", number="0") == 1_234_567
    assert value(families["streamsr_target_dropped"], stream="yard") == 7
    assert {f"streamsr_stream_{name}" for name in COUNTERS} <= families.keys()
    assert all(family.documentation for family in families.values())


def test_types_are_what_prometheus_expects() -> None:
    for name, family in parsed(stream()).items():
        is_counter = name.removeprefix("streamsr_stream_") in COUNTERS or (
            name.startswith("streamsr_target_") and not name.endswith("_state")
        )
        assert family.type == ("counter" if is_counter else "gauge"), name


def test_labels_may_hold_anything() -> None:
    odd = 'C:\\cam "1"\nnext'
    families = parsed(stream(source=odd, targets=(target(name=odd), target(name=odd))))
    assert families["streamsr_stream_info"].samples[0].labels["source"] == odd
    assert [sample.labels["number"] for sample in families["streamsr_target_packets"].samples] == ["0", "1"]


def test_what_does_not_exist_is_left_out() -> None:
    families = parsed(stream(fps_in=float("nan"), av_offset_ms=None, latency={}, targets=()))
    assert families.keys().isdisjoint(
        {
            "streamsr_stream_fps_in",
            "streamsr_stream_av_offset_seconds",
            "streamsr_stream_latency_seconds",
            "streamsr_target_packets",
        }
    )
    infinite = parsed(stream(latency={"total": Percentiles(float("inf"), 2.0, 1)}))
    assert [sample.labels["quantile"] for sample in infinite["streamsr_stream_latency_seconds"].samples] == ["0.99"]
    assert value(parsed()["streamsr_healthy"]) == 0
