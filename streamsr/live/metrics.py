"""The status of all streams in Prometheus' text format (0.0.4)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from streamsr.live.stats import COUNTERS, State, StreamStatus, TargetStatus
from streamsr.live.status import problems

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_COUNTER_WORDS = {
    "pictures_in": "Pictures that the source has brought.",
    "pictures_out": "Upscaled pictures that were encoded.",
    "pictures_held": "Pictures shown again while the source was away.",
    "dropped_newest": "Pictures replaced by a newer one before they were upscaled.",
    "dropped_stale": "Pictures that were too old when their turn came.",
    "dropped_ingest": "Pictures for which the ingest process had no room.",
    "corrupt_packets": "Damaged packets of the source that were left out.",
    "audio_packets": "Audio packets sent to the targets.",
    "audio_silence": "Packets of silence put into gaps of the sound.",
    "audio_transcoded": "Audio packets that were encoded anew.",
    "reconnects": "Times the source was opened again.",
    "encoder_restarts": "Times the encoder's process was started again.",
    "upscale_failures": "Pictures that could not be upscaled.",
    "clock_jumps": "Jumps of the source's clock that were taken out.",
    "ladder_moves": "Changes of the model because of the load.",
}

Samples = Iterator[tuple[Mapping[str, str], float]]


def prometheus(statuses: Sequence[StreamStatus]) -> str:
    """The whole page. Counters begin at 0 when a stream is started, as Prometheus expects of a restart."""
    lines: list[str] = []

    def family(name: str, kind: str, words: str, samples: Samples) -> None:
        found = [(labels, value) for labels, value in samples if math.isfinite(value)]
        if found:
            base = f"streamsr_{name}"
            lines.extend((f"# HELP {base} {_escaped(words)}", f"# TYPE {base} {kind}"))
            lines.extend(f"{base}{{{_labels(labels)}}} {_number(value)}" for labels, value in found)

    lines += ["# HELP streamsr_healthy Whether /health says 200.", "# TYPE streamsr_healthy gauge"]
    lines.append(f"streamsr_healthy {int(not problems(statuses))}")
    family("stream_info", "gauge", "What a stream is made of; always 1.", _infos(statuses))
    family("stream_state", "gauge", "1 for the state that a stream is in.", _states(statuses))
    family("stream_uptime_seconds", "gauge", "Since the stream was started.", _each(statuses, "uptime_s"))
    family("stream_fps_in", "gauge", "Pictures per second from the source.", _each(statuses, "fps_in"))
    family("stream_fps_out", "gauge", "Upscaled pictures per second.", _each(statuses, "fps_out"))
    offsets = (
        ({"stream": status.name}, status.av_offset_ms / 1000) for status in statuses if status.av_offset_ms is not None
    )
    family("stream_av_offset_seconds", "gauge", "Sound before (-) or after (+) the picture.", offsets)
    family("stream_latency_seconds", "gauge", "By stage, over the last 1000 pictures.", _latencies(statuses))
    for counter in COUNTERS:
        samples = (({"stream": each.name}, float(each.counters.get(counter, 0))) for each in statuses)
        family(f"stream_{counter}_total", "counter", _COUNTER_WORDS[counter], samples)
    family("target_state", "gauge", "1 for the state that a target is in.", _target_states(statuses))
    for name, field, words in (
        ("packets", "packets", "Packets that the target has taken."),
        ("bytes", "num_bytes", "Bytes that the target has taken."),
        ("dropped", "dropped", "Packets left out because the target was too slow."),
        ("reconnects", "reconnects", "Times the target was opened again."),
    ):
        family(f"target_{name}_total", "counter", words, _each_target(statuses, field))
    return "\n".join(lines) + "\n"


def _infos(statuses: Sequence[StreamStatus]) -> Samples:
    for status in statuses:
        labels = {
            "stream": status.name,
            "source": status.source,
            "model": status.model,
            "size_in": status.size_in,
            "size_out": status.size_out,
        }
        yield labels, 1.0


def _states(statuses: Sequence[StreamStatus]) -> Samples:
    for status in statuses:
        for state in get_args(State):
            yield {"stream": status.name, "state": state}, float(status.state == state)


def _each(statuses: Sequence[StreamStatus], field: str) -> Samples:
    for status in statuses:
        yield {"stream": status.name}, float(getattr(status, field))


def _latencies(statuses: Sequence[StreamStatus]) -> Samples:
    for status in statuses:
        for stage, measured in status.latency.items():
            for quantile, milliseconds in (("0.5", measured.p50_ms), ("0.99", measured.p99_ms)):
                yield {"stream": status.name, "stage": stage, "quantile": quantile}, milliseconds / 1000


def _target_states(statuses: Sequence[StreamStatus]) -> Samples:
    for labels, target in _targets(statuses):
        for state in get_args(State):
            yield {**labels, "state": state}, float(target.state == state)


def _each_target(statuses: Sequence[StreamStatus], field: str) -> Samples:
    for labels, target in _targets(statuses):
        yield labels, float(getattr(target, field))


def _targets(statuses: Sequence[StreamStatus]) -> Iterator[tuple[dict[str, str], TargetStatus]]:
    """Two targets may have the same masked name, as with two keys at one server: the number tells them apart."""
    for status in statuses:
        for number, target in enumerate(status.targets):
            yield {"stream": status.name, "target": target.name, "number": str(number)}, target


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value, quoted=True)}"' for name, value in labels.items())


def _escaped(text: str, *, quoted: bool = False) -> str:
    plain = text.replace("\\", r"\\").replace("\n", r"\n")
    return plain.replace('"', r"\"") if quoted else plain


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
