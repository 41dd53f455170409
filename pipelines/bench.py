"""The verb `bench`: what is fast and what is not on this machine, measured side by side in one run.

Two ways of doing a thing are timed in turns, A B A B, and their medians compared, so that a machine whose speed drifts
still gives an honest ratio. Real pictures, never zeros; warm-up apart. Records are plain JSON values."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from pipelines.bench_plain import plain_loop
from pipelines.network import network_for
from pipelines.upscale import upscale_file
from streamsr.config import JobConfig, UpscaleConfig
from streamsr.errors import ConfigError
from streamsr.frames import Frame
from streamsr.media.source import open_source
from streamsr.models.locations import find
from streamsr.models.srvgg import SRVGG
from streamsr.models.weights import Network, load_network
from streamsr.report import Progress, Report
from streamsr.runtime.allocator import keep_freed_memory
from streamsr.runtime.gate import Gate
from streamsr.runtime.slots import SlotRing
from streamsr.upscale.batches import in_batches
from streamsr.upscale.chain import Chain, Look, network_scales
from streamsr.upscale.device import DevicePlan, plan_devices, precision_name
from streamsr.upscale.engine import Engine, stacked
from streamsr.upscale.memory import plan_budget
from streamsr.upscale.pixels import to_rgb
from streamsr.upscale.target import Target, plan_target

SAMPLE = Path(__file__).parents[1] / "samples" / "parade.mp4"
MODELS = ("lite", "animevideov3", "x4plus")
CLIP_FRAMES = 24
FEWEST_TURNS = 3
Record = dict[str, object]


class Silent:
    """A watcher for jobs that are measured."""

    def notice(self, text: str) -> None:
        """Not shown."""

    def progress(self, now: Progress) -> None:
        """Not shown."""

    def done(self, report: Report) -> None:
        """Not shown."""


def run(cfg: JobConfig, clip: Path | None, seconds: float, report: Callable[[str], None]) -> list[Record]:
    """Measurements with `clip` (default: the sample that comes with streamsr), each for about `seconds`.

    `report` is told what is being measured. Raises StreamSRError."""
    keep_freed_memory()
    if clip is None and not SAMPLE.is_file():
        raise ConfigError("the sample clip is not installed", where=str(SAMPLE), remedy="Name a clip with --clip FILE.")
    clip = clip or SAMPLE
    plan = plan_devices(cfg.upscale.device, cfg.upscale.precision)
    with open_source(clip, cfg.source) as source:
        frames = list(islice(source.frames(), CLIP_FRAMES))
        info = source.info
    names = [cfg.upscale.model] if cfg.upscale.model != "auto" else [name for name in MODELS if find(name)]
    records: list[Record] = []
    for name in names:
        report(f"{name}: network and way out, {info.width}x{info.height}")
        network = load_network(name, cfg.upscale.denoise)
        target = plan_target(cfg.upscale, info, network_scales(network))
        look = Look(info.layout, info.color, info.layout, info.color, info.orientation)
        records.append(_network_record(cfg.upscale, network, look, target, plan, frames, seconds))
        records.append(_chain_record(network, look, target, plan, frames, seconds))
    report("whole jobs")
    records += [_job_record(cfg, name, clip, seconds) for name in names[:2]]
    return records


def _network_record(
    cfg: UpscaleConfig,
    network: Network,
    look: Look,
    target: Target,
    plan: DevicePlan,
    frames: list[Frame],
    seconds: float,
) -> Record:
    """The chain's network against the plain loop: eager fp32 as torch gives it, NCHW, on the same device, in a process
    of its own."""
    device = plan.devices[0]
    ours = Chain(network, look, replace(target, network_scale=network.scale), device, plan.dtype)
    plain = network.module.to(device)
    lr = to_rgb(_planes(frames[0], device), look.layout_in, look.color_in)
    lr_last = lr.contiguous(memory_format=torch.channels_last)

    def chained() -> torch.Tensor:
        sr: torch.Tensor = ours.module(lr_last if network.family == "srvgg" else lr_last.to(plan.dtype))
        return sr

    name = cfg.model if cfg.model != "auto" else network.name
    with plain_loop(name, cfg.denoise, str(device), lr[0].cpu().numpy()) as plainly, torch.inference_mode():
        slow_s, fast_s = _in_turns(plainly, chained, seconds, device)
        error = (plain(lr).clamp(0, 1) - chained().float().clamp(0, 1)).square().mean()
    network.module.to("cpu")
    psnr = math.inf if not float(error) else -10 * math.log10(float(error))
    return {
        "what": f"{network.name} network",
        "size": f"{lr.shape[3]}x{lr.shape[2]} x{network.scale}",
        "precision": precision_name(plan.dtype),
        "ms": round(fast_s * 1e3, 1),
        "fps": round(1 / fast_s, 2),
        "against": f"plain fp32 loop {slow_s * 1e3:.1f} ms",
        "ratio": f"{slow_s / fast_s:.2f}x",
        "note": f"{psnr:.1f} dB to it",
    }


def _chain_record(
    network: Network, look: Look, target: Target, plan: DevicePlan, frames: list[Frame], seconds: float
) -> Record:
    """Planes in, planes in slots out, against the network alone: what colour, resize and hand-over cost."""
    device = plan.devices[0]
    with SlotRing(4, look.layout_out.num_bytes(target.width, target.height)) as slots:
        size = (frames[0].width, frames[0].height)
        budget = plan_budget(network, device, plan.dtype.itemsize, *size, 1, 0)
        engine = Engine(network, look, target, device, plan.dtype, budget, slots, lambda text: None)
        chain = Chain(network, look, target, device, plan.dtype)
        lr = to_rgb(_planes(frames[0], device), look.layout_in, look.color_in)
        lr = lr.contiguous(memory_format=torch.channels_last)

        def alone() -> torch.Tensor:
            module = chain.module
            sr: torch.Tensor = module.subpixels(lr) if isinstance(module, SRVGG) else module(lr.to(plan.dtype))
            return sr

        def whole() -> None:
            for pictures in engine.upscale(in_batches(iter(frames[:1]), 1, slots, Gate(), 60.0)):
                for picture in pictures:
                    picture.slot.release()

        with torch.inference_mode():
            alone_s, whole_s = _in_turns(alone, whole, seconds, device)
        engine.close()
    return {
        "what": f"{network.name} planes to planes",
        "size": f"{size[0]}x{size[1]} -> {target.width}x{target.height}",
        "precision": precision_name(plan.dtype),
        "ms": round(whole_s * 1e3, 1),
        "fps": round(1 / whole_s, 2),
        "against": f"network alone {alone_s * 1e3:.1f} ms",
        "ratio": f"{whole_s / alone_s:.2f}x",
        "note": f"{max(0.0, 1 - alone_s / whole_s):.1%} for colour, resize, hand-over",
    }


def _job_record(cfg: JobConfig, name: str, clip: Path, seconds: float) -> Record:
    """A whole job, file to file, for as much of the clip as takes about twice `seconds`."""
    upscale = cfg.upscale.model_copy(update={"model": name})
    network_for(upscale, "cpu", Silent())  # loaded once for all jobs of a process
    with tempfile.TemporaryDirectory(prefix="streamsr-bench-") as folder:

        def job(duration_s: float, number: int) -> Report:
            source = cfg.source.model_copy(update={"duration_s": duration_s})
            part = cfg.model_copy(update={"upscale": upscale, "source": source})
            return upscale_file(part, clip, Path(folder) / f"{number}.mp4", Silent())

        first = job(0.5, 0)
        last = job(max(0.5, min(600.0, seconds * first.frames_out / first.elapsed_s / 24)), 1)
    speed = last.facts["speed"]
    stages = {stage: reading["busy_s"] for stage, reading in speed["stages"].items()}
    upscale_s = max(busy for stage, busy in stages.items() if stage.startswith("upscale["))
    return {
        "what": f"{name} whole job",
        "size": "x".join(map(str, last.facts["output"]["size"])),
        "precision": last.facts["compute"]["precision"],
        "ms": round(last.elapsed_s / last.frames_out * 1e3, 1),
        "fps": round(last.frames_out / last.elapsed_s, 2),
        "against": f"upscale {upscale_s:.1f} s, encode {speed['encoder_busy_s']:.1f} s of {last.elapsed_s:.1f} s",
        "ratio": f"{upscale_s / last.elapsed_s:.2f} of the time upscaling",
        "note": f"{last.frames_out} frames, peak {speed['peak_memory_bytes'] / 1e9:.2f} GB in all processes",
    }


def _planes(frame: Frame, device: torch.device) -> tuple[torch.Tensor, ...]:
    return tuple(plane.to(device) for plane in stacked((frame,)))


def _in_turns(
    first: Callable[[], object], second: Callable[[], object], seconds: float, device: torch.device
) -> tuple[float, float]:
    """Median seconds of each, measured alternately until `seconds` have passed."""
    times: tuple[list[float], list[float]] = ([], [])
    for call in (first, second):
        call()
    began = time.perf_counter()
    while len(times[0]) < FEWEST_TURNS or time.perf_counter() - began < seconds:
        for call, taken in zip((first, second), times, strict=True):
            started = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])
