"""What a finished job says about itself: the one-line verdict, and the facts of `--report`."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import torch

import streamsr
from pipelines.decide import Job
from streamsr.errors import FrameMismatch
from streamsr.frames import ColorTags, PixelLayout, VideoInfo
from streamsr.media.damage import Damage
from streamsr.media.encode import EncodeStats
from streamsr.media.sink import Sink
from streamsr.media.source import VideoSource
from streamsr.media.trials import library_versions
from streamsr.report import Report
from streamsr.runtime.meters import Reading
from streamsr.upscale.device import precision_name


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came out of the source. `span`: its first pts and the end of its last picture, in ticks, None if empty."""

    frames: int
    span: tuple[int, int] | None
    damage: Damage
    notices: tuple[str, ...]

    @classmethod
    def of(cls, source: VideoSource) -> Decoded:
        """Of a source that has been read to its end."""
        return cls(source.frames_decoded, source.time_span, source.damage, tuple(source.notices))


@dataclass(frozen=True, slots=True)
class Measured:
    """What the run itself took. `first_picture_s` counts from the start of the process."""

    encoded: EncodeStats
    meters: Mapping[str, Reading]
    peak_bytes: int
    first_picture_s: float | None
    elapsed_s: float


def report_on(job: Job, sink: Sink, decoded: Decoded, measured: Measured) -> Report:
    """The verdict on a file that is written and read back. Raises FrameMismatch if frames in and out differ."""
    verdict = sink.verdict
    assert verdict is not None
    frames_in, frames_out = decoded.frames, verdict.pictures
    if frames_in != frames_out:
        raise FrameMismatch(f"{frames_in} frames were decoded, {frames_out} are in the output", stage="mux")
    stamps = "times identical" if verdict.identical_stamps else f"times within {verdict.worst_stamp_s * 1e3:.2g} ms"
    target, elapsed_s = job.treatment.target, measured.elapsed_s
    rate = frames_out / elapsed_s
    summary = (
        f"{sink.target.name}: {target.width}x{target.height}, {frames_out} frames in and out, {stamps}, "
        f"A/V offset {verdict.sync_error_s * 1e3:+.1f} ms, {elapsed_s:.1f} s ({rate:.2f} fps)"
    )
    facts = _facts(job, sink, decoded, measured)
    return Report(job.treatment.info.path, str(sink.target), frames_in, frames_out, elapsed_s, summary, facts)


def _facts(job: Job, sink: Sink, decoded: Decoded, measured: Measured) -> dict[str, Any]:
    treatment, network, plan = job.treatment, job.means.network, job.means.plan
    verdict, span = sink.verdict, decoded.span
    info, target, settings, budget = treatment.info, treatment.target, treatment.settings, treatment.budget
    assert verdict is not None
    return {
        "source": _source_facts(info) | {"frames": decoded.frames, "damage": asdict(decoded.damage)},
        "output": {
            "path": str(sink.target),
            "bytes": sink.target_bytes,
            "frames": verdict.pictures,
            "duration_s": verdict.duration_s,
            "size": [target.width, target.height],
            "sample_aspect": str(target.sample_aspect),
            "color": _color_facts(settings.layout, settings.color),
            "codec": settings.codec,
            "encoder": settings.encoder,
            "encoder_options": dict(settings.options),
        },
        "timing": {
            "video_duration_in_s": float((span[1] - span[0]) * info.time_base) if span else None,
            "timestamps_identical": verdict.identical_stamps,
            "largest_deviation_s": verdict.worst_stamp_s,
            "container_tick_s": verdict.tick_s,
            "container_shift_s": verdict.shift_s,
            "av_offset_error_s": verdict.sync_error_s,
            "stopped_early": sink.is_stopped,
        },
        "streams": [asdict(fate) for fate in sink.streams],
        "notices": [*decoded.notices, *sink.notices],
        "model": {
            "name": network.name,
            "sha256": network.sha256,
            "architecture": str(network.architecture),
            "runs_at": target.network_scale,
            "denoise": network.denoise,
        },
        "compute": {
            "device": [str(device) for device in plan.devices],
            "precision": precision_name(plan.dtype),
            "batch": budget.batch,
            "tile": budget.tile,
        },
        "speed": {
            "elapsed_s": measured.elapsed_s,
            "first_picture_s": measured.first_picture_s,
            "frames_per_s": verdict.pictures / measured.elapsed_s,
            "peak_memory_bytes": measured.peak_bytes,
            "encoder_busy_s": measured.encoded.busy_s,
            "stages": {name: asdict(reading) for name, reading in measured.meters.items()},
        },
        "versions": {
            "streamsr": streamsr.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            **library_versions(),
        },
    }


def _source_facts(info: VideoInfo) -> dict[str, Any]:
    width, height = info.upright_size
    return {
        "path": info.path,
        "container": info.container,
        "codec": info.codec,
        "size": [info.width, info.height],
        "upright_size": [width, height],
        "turned_clockwise": info.orientation.clockwise,
        "mirrored": info.orientation.mirrored,
        "sample_aspect": str(info.upright_sample_aspect),
        "display_aspect": str(Fraction(width, height) * info.upright_sample_aspect),
        "interlaced": info.interlaced,
        "rate": str(info.rate) if info.rate else None,
        "duration_s": info.duration_s,
        "time_base": str(info.time_base),
        "color": _color_facts(info.layout, info.color),
        "hdr10": info.hdr is not None,
    }


def _color_facts(layout: PixelLayout, color: ColorTags) -> dict[str, Any]:
    return {"pix_fmt": layout.pix_fmt, **asdict(color)}
