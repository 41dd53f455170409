"""A video file in, an upscaled video file out: the path of a frame.

Frames are decoded ahead, gathered in batches, spread over the devices, encoded by a process, and written between the
original audio packets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from pipelines.decide import Job, Means, Treatment, choose_means, decide
from pipelines.verdict import Decoded, Measured, report_on
from pipelines.watching import Ticker, estimate_total
from streamsr.config import JobConfig
from streamsr.errors import Interrupted
from streamsr.frames import Frame, Upscaled
from streamsr.media.encode import Encoder
from streamsr.media.sink import Sink, open_sink
from streamsr.media.source import open_source
from streamsr.report import Report, Watcher
from streamsr.runtime.crew import Crew
from streamsr.runtime.interrupt import interrupts
from streamsr.runtime.memory import PeakMemory
from streamsr.runtime.slots import SlotRing
from streamsr.upscale.batches import in_batches
from streamsr.upscale.engine import Engine, open_engines

DECODED_AHEAD, UPSCALED_AHEAD, ENCODED_AHEAD = 4, 2, 64
"""Bounds of the queues: frames, batches per device, packets."""
LEASE_PATIENCE = 10
"""A slot comes back when the encoder has taken a picture; slow presets need minutes. A dead encoder is noticed sooner,
by its own patience."""


def upscale_file(cfg: JobConfig, source_path: Path, target_path: Path, watcher: Watcher) -> Report:
    """Upscale one file, verify the result, put it in place. Raises StreamSRError; then nothing is left behind."""
    started = time.monotonic()
    means, patience_s = choose_means(cfg.upscale, watcher), cfg.run.patience_s
    with ExitStack() as stack:
        memory = stack.enter_context(PeakMemory())
        source = stack.enter_context(
            open_source(source_path, cfg.source, device=means.plan.kind, patience_s=patience_s)
        )
        job = decide(cfg, source.info, source.origin, means, target_path)
        sink = stack.enter_context(open_target(job, target_path))
        slots = stack.enter_context(open_slots(job.treatment, len(means.plan.devices)))
        for line in job.choices():
            watcher.notice(line)
        with Crew(patience_s, name="main") as crew:  # innermost: it ends before anything its stages use
            encoder = Encoder(job.treatment.settings, crew, slots, patience_s)  # starts while the engines are built
            engines = open_treatment(stack, means, job.treatment, slots, watcher.notice)
            ticker = Ticker(
                source_path.name, estimate_total(source.info), crew, watcher, lambda: (*source.notices, *sink.notices)
            )
            with interrupts(first=lambda: _stop(crew, sink), second=lambda: crew.gate.abort(_interrupted(source_path))):
                upscaled = through(engines, source.frames(), job.treatment.budget.batch, slots, crew)
                packets = crew.ahead(encoder.encode(ticker.noting_first(upscaled)), ENCODED_AHEAD, "encode")
                crew.run(lambda: sink.write(ticker.counting(packets), encoder.stream_template), "mux")
        ticker.finish()
        elapsed_s = time.monotonic() - started
        measured = Measured(encoder.stats, crew.meters.snapshot(), memory.peak_bytes, ticker.first_picture_s, elapsed_s)
        report = report_on(job, sink, Decoded.of(source), measured)
    watcher.done(report)
    return report


def through(
    engines: Sequence[Engine], frames: Iterable[Frame], batch: int, slots: SlotRing, crew: Crew
) -> Iterator[Upscaled]:
    """The path of a frame up to the encoder: decoded ahead, gathered in batches, spread over the devices, in order."""
    decoded = crew.ahead(frames, DECODED_AHEAD, "decode", source=True)
    batches = in_batches(decoded, batch, slots, crew.gate, LEASE_PATIENCE * crew.patience_s)
    upscaled = crew.spread(batches, [each.upscale for each in engines], UPSCALED_AHEAD, "upscale")
    return (picture for pictures in upscaled for picture in pictures)


def open_target(job: Job, target_path: Path) -> Sink:
    """The file that the job writes, with all else that its source holds. Raises ConfigError, SinkError."""
    source, treatment = job.cfg.source, job.treatment
    return open_sink(
        target_path,
        treatment.info.path,
        treatment.info,
        job.cfg.output,
        origin=treatment.origin,
        start_s=source.start_s,
        duration_s=source.duration_s,
    )


def open_slots(treatment: Treatment, num_devices: int) -> SlotRing:
    """As many pictures as can be under way at once: on the devices, between the stages and in the encoder."""
    batches = 1 + (UPSCALED_AHEAD + 3) * num_devices
    in_encoder = min(treatment.settings.threads, 16) + 2
    return SlotRing(treatment.budget.batch * batches + in_encoder, treatment.slot_bytes)


def open_treatment(
    stack: ExitStack, means: Means, treatment: Treatment, slots: SlotRing, notice: Callable[[str], None]
) -> list[Engine]:
    """One engine per device, closed by `stack`."""
    look, target, budget = treatment.look, treatment.target, treatment.budget
    return open_engines(stack, means.plan, means.network, look, target, budget, slots, notice)


def _stop(crew: Crew, sink: Sink) -> None:
    """First Ctrl-C: what was decoded is finished, and the file ends there."""
    sink.end_with_video()
    crew.drain()


def _interrupted(source_path: Path) -> Interrupted:
    return Interrupted("stopped", where=str(source_path), remedy="Nothing was written.")
