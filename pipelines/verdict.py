"""What a finished job says about itself: the one-line verdict, and the facts of `--report`."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import torch

import streamsr
from streamsr.config import JobConfig
from streamsr.errors import FrameMismatch
from streamsr.frames import ColorTags, PixelLayout, VideoInfo
from streamsr.media.encode import EncodeStats
from streamsr.media.encoders import EncoderSettings
from streamsr.media.sink import Sink
from streamsr.media.source import VideoSource
from streamsr.media.trials import library_versions
from streamsr.models.weights import Network
from streamsr.report import Report
from streamsr.runtime.meters import Reading
from streamsr.upscale.device import DevicePlan, precision_name
from streamsr.upscale.memory import Budget
from streamsr.upscale.target import Target


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that was decided before the first frame."""

    cfg: JobConfig
    source: VideoSource
    sink: Sink
    network: Network
    plan: DevicePlan
    target: Target
    settings: EncoderSettings
    budget: Budget

    def choices(self) -> list[str]:
        """A line for each choice a user may want to know of, before the work begins."""
        info, target = self.source.info, self.target
        width, height = info.upright_size
        lines = [
            f"{width}x{height} -> {target.width}x{target.height} with {self.network.name} "
            f"x{target.network_scale} on {self.plan.why}",
            self.settings.description,
        ]
        needed = max(target.width / width, target.height / height)
        if needed > target.network_scale * 1.01:
            lines.append(f"the network gives x{target.network_scale}; the rest of x{needed:.2f} is plain resizing")
        return lines


@dataclass(frozen=True, slots=True)
class Measured:
    """What the run itself took. `first_picture_s` counts from the start of the process."""

    encoded: EncodeStats
    meters: Mapping[str, Reading]
    peak_bytes: int
    first_picture_s: float | None
    elapsed_s: float


def report_on(job: Job, measured: Measured) -> Report:
    """The verdict on a file that is written and read back. Raises FrameMismatch if frames in and out differ."""
    verdict = job.sink.verdict
    assert verdict is not None
    frames_in, frames_out = job.source.frames_decoded, verdict.pictures
    if frames_in != frames_out:
        raise FrameMismatch(f"{frames_in} frames were decoded, {frames_out} are in the output", stage="mux")
    stamps = "times identical" if verdict.identical_stamps else f"times within {verdict.worst_stamp_s * 1e3:.2g} ms"
    target, elapsed_s = job.target, measured.elapsed_s
    rate = frames_out / elapsed_s
    summary = (
        f"{job.sink.target.name}: {target.width}x{target.height}, {frames_out} frames in and out, {stamps}, "
        f"A/V offset {verdict.sync_error_s * 1e3:+.1f} ms, {elapsed_s:.1f} s ({rate:.2f} fps)"
    )
    facts = _facts(job, measured)
    return Report(job.source.info.path, str(job.sink.target), frames_in, frames_out, elapsed_s, summary, facts)


def _facts(job: Job, measured: Measured) -> dict[str, Any]:
    info, verdict, target, span = job.source.info, job.sink.verdict, job.target, job.source.time_span
    assert verdict is not None
    return {
        "source": _source_facts(info) | {"frames": job.source.frames_decoded, "damage": asdict(job.source.damage)},
        "output": {
            "path": str(job.sink.target),
            "bytes": job.sink.target_bytes,
            "frames": verdict.pictures,
            "duration_s": verdict.duration_s,
            "size": [target.width, target.height],
            "sample_aspect": str(target.sample_aspect),
            "color": _color_facts(job.settings.layout, job.settings.color),
            "codec": job.settings.codec,
            "encoder": job.settings.encoder,
            "encoder_options": dict(job.settings.options),
        },
        "timing": {
            "video_duration_in_s": float((span[1] - span[0]) * info.time_base) if span else None,
            "timestamps_identical": verdict.identical_stamps,
            "largest_deviation_s": verdict.worst_stamp_s,
            "container_tick_s": verdict.tick_s,
            "container_shift_s": verdict.shift_s,
            "av_offset_error_s": verdict.sync_error_s,
            "stopped_early": job.sink.is_stopped,
        },
        "streams": [asdict(fate) for fate in job.sink.streams],
        "notices": [*job.source.notices, *job.sink.notices],
        "model": {
            "name": job.network.name,
            "sha256": job.network.sha256,
            "architecture": str(job.network.architecture),
            "runs_at": target.network_scale,
            "denoise": job.network.denoise,
        },
        "compute": {
            "device": [str(device) for device in job.plan.devices],
            "precision": precision_name(job.plan.dtype),
            "batch": job.budget.batch,
            "tile": job.budget.tile,
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
