"""A video file in, an upscaled video file out: the path of a frame.

Frames are decoded ahead, gathered in batches, spread over the devices, encoded by a process, and written between the
original audio packets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from pipelines.network import network_for
from pipelines.verdict import Job, Measured, report_on
from pipelines.watching import Ticker, estimate_total
from streamsr.config import JobConfig
from streamsr.errors import Interrupted
from streamsr.frames import Upscaled
from streamsr.media.encode import Encoder
from streamsr.media.encoders import choose_codec, choose_encoder, keeps_sample_aspect
from streamsr.media.sink import Sink, open_sink
from streamsr.media.source import open_source
from streamsr.report import Report, Watcher
from streamsr.runtime.crew import Crew
from streamsr.runtime.interrupt import interrupts
from streamsr.runtime.memory import PeakMemory
from streamsr.runtime.slots import SlotRing
from streamsr.upscale.batches import in_batches
from streamsr.upscale.chain import Look, network_scales
from streamsr.upscale.device import keep_freed_memory, plan_devices
from streamsr.upscale.engine import open_engines
from streamsr.upscale.memory import plan_budget
from streamsr.upscale.target import plan_target

DECODED_AHEAD, UPSCALED_AHEAD, ENCODED_AHEAD = 4, 2, 64
"""Bounds of the queues: frames, batches per device, packets."""
LEASE_PATIENCE = 10
"""A slot comes back when the encoder has taken a picture; slow presets need minutes. A dead encoder is noticed sooner,
by its own patience."""


def upscale_file(cfg: JobConfig, source_path: Path, target_path: Path, watcher: Watcher) -> Report:
    """Upscale one file, verify the result, put it in place. Raises StreamSRError; then nothing is left behind."""
    started = time.monotonic()
    keep_freed_memory()
    plan = plan_devices(cfg.upscale.device, cfg.upscale.precision)
    network = network_for(cfg.upscale, plan.kind, watcher)
    patience_s = cfg.run.patience_s
    with ExitStack() as stack:
        memory = stack.enter_context(PeakMemory())
        source = stack.enter_context(open_source(source_path, cfg.source, device=plan.kind, patience_s=patience_s))
        info = source.info
        suffix = target_path.suffix.lower()
        can_tell_shape = keeps_sample_aspect(choose_codec(cfg.encode, info, suffix), suffix)
        target = plan_target(cfg.upscale, info, network_scales(network), square=not can_tell_shape)
        settings = choose_encoder(cfg.encode, info, target.width, target.height, target.sample_aspect, suffix)
        sink = stack.enter_context(
            open_sink(
                target_path,
                str(source_path),
                info,
                cfg.output,
                origin=source.origin,
                start_s=cfg.source.start_s,
                duration_s=cfg.source.duration_s,
            )
        )
        budget = plan_budget(
            network,
            plan.devices[0],
            plan.dtype.itemsize,
            *info.upright_size,
            cfg.upscale.batch,
            cfg.upscale.tile,
        )
        num_slots = budget.batch * (1 + (UPSCALED_AHEAD + 3) * len(plan.devices)) + min(settings.threads, 16) + 2
        slots = stack.enter_context(SlotRing(num_slots, settings.layout.num_bytes(target.width, target.height)))
        job = Job(cfg, source, sink, network, plan, target, settings, budget)
        for line in job.choices():
            watcher.notice(line)

        look = Look(info.layout, info.color, settings.layout, settings.color, info.orientation)
        with Crew(patience_s, name="main") as crew:  # innermost: it ends before anything its stages use
            encoder = Encoder(settings, crew, slots, patience_s)  # starts its process while the engines are built
            engines = open_engines(stack, plan, network, look, target, budget, slots, watcher.notice)
            ticker = Ticker(source_path.name, estimate_total(info), crew, watcher, (source.notices, sink.notices))
            with interrupts(first=lambda: _stop(crew, sink), second=lambda: crew.gate.abort(_interrupted(source_path))):
                frames = crew.ahead(source.frames(), DECODED_AHEAD, "decode", source=True)
                batches = in_batches(frames, budget.batch, slots, crew.gate, LEASE_PATIENCE * patience_s)
                upscaled = crew.spread(batches, [each.upscale for each in engines], UPSCALED_AHEAD, "upscale")
                packets = crew.ahead(encoder.encode(ticker.noting_first(flatten(upscaled))), ENCODED_AHEAD, "encode")
                crew.run(lambda: sink.write(ticker.counting(packets), encoder.stream_template), "mux")
        ticker.finish()
        measured = Measured(
            encoder.stats,
            crew.meters.snapshot(),
            memory.peak_bytes,
            ticker.first_picture_s,
            time.monotonic() - started,
        )
        report = report_on(job, measured)
    watcher.done(report)
    return report


def flatten(batches: Iterable[tuple[Upscaled, ...]]) -> Iterator[Upscaled]:
    """The pictures of the batches, one after the other."""
    for batch in batches:
        yield from batch


def _stop(crew: Crew, sink: Sink) -> None:
    """First Ctrl-C: what was decoded is finished, and the file ends there."""
    sink.end_with_video()
    crew.drain()


def _interrupted(source_path: Path) -> Interrupted:
    return Interrupted("stopped", where=str(source_path), remedy="Nothing was written.")
