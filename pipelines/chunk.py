"""One chunk of a film: its pictures, upscaled, as a part file. Runs in a worker process, which does many of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch

from pipelines.decide import Means, Treatment
from pipelines.upscale import ENCODED_AHEAD, open_slots, open_treatment, through
from pipelines.verdict import Decoded
from streamsr.chunks.executor import Place, Work
from streamsr.chunks.plan import Chunk
from streamsr.config import Precision, SourceConfig
from streamsr.errors import FrameMismatch, SourceError, WeightsError
from streamsr.frames import Packet
from streamsr.media.encode import Encoder
from streamsr.media.parts import PartFacts, check_part, write_part
from streamsr.media.source import VideoSource, open_source
from streamsr.models.weights import load_network
from streamsr.runtime.crew import Crew
from streamsr.runtime.memory import tree_memory
from streamsr.runtime.slots import SlotRing
from streamsr.upscale.device import plan_devices
from streamsr.upscale.engine import Engine

TARGET = "pipelines.chunk:open_work"
"""What `WorkSpec` calls `open_work`."""


@dataclass(frozen=True, slots=True)
class ChunkSetup:
    """What was decided once for the whole film, so that all chunks on all machines come out alike.

    `source`: the file, as the job names it. `model`: a name of the catalogue where `is_named`, else a file; `denoise`
    goes with it, see load_network."""

    source: str
    source_bytes: int
    span: SourceConfig
    treatment: Treatment
    precision: Precision
    model: str
    is_named: bool
    model_sha256: str
    denoise: float | None
    patience_s: float


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """What one chunk's worker is given: its pictures, and the file to put them into."""

    chunk: Chunk
    part: str


@dataclass(frozen=True, slots=True)
class ChunkDone:
    """What one chunk has become. `facts` None: no picture is in it, and there is no part.

    `seconds`: "open" until the first picture is decoded, "decode", "upscale", "encode" the work of these stages, which
    overlap, "check" reading the part back, "total" all of it. `peak_bytes`: resident in the worker and its encoder."""

    facts: PartFacts | None
    decoded: Decoded
    seconds: dict[str, float]
    peak_bytes: int


@contextmanager
def open_work(setup: ChunkSetup, place: Place) -> Iterator[Work]:
    """A worker: the network is loaded once, slots and engines are kept from chunk to chunk.

    Raises WeightsError when the checkpoint here is not the one that the job was planned with, SourceError for the
    source."""
    torch.set_num_threads(place.threads)
    source = place.here(setup.source)
    _check_source(source, setup)
    network = load_network(setup.model if setup.is_named else place.here(setup.model), setup.denoise)
    if network.sha256 != setup.model_sha256:
        what = f"the checkpoint on this machine is another one: {network.sha256[:12]}, not {setup.model_sha256[:12]}"
        raise WeightsError(what, where=str(network.path), remedy="Copy the same file to all machines.")
    means = Means(plan_devices(place.device, setup.precision), network)
    settings = setup.treatment.settings
    settings = replace(settings, threads=max(1, min(settings.threads, place.threads)))
    worker = ChunkWorker(setup, means, replace(setup.treatment, settings=settings), place)
    with worker.stack:
        yield worker.make


class ChunkWorker:
    """Does chunks one by one. `stack` closes what is kept between them."""

    def __init__(self, setup: ChunkSetup, means: Means, treatment: Treatment, place: Place) -> None:
        self.stack = ExitStack()
        self._setup, self._means, self._treatment, self._place = setup, means, treatment, place
        self._slots: SlotRing | None = None
        self._engines: list[Engine] = []
        self._notices: list[str] = []

    def make(self, task: ChunkTask, tell: Callable[[int], None]) -> ChunkDone:
        """Makes the part of one chunk and reads it back; `tell` is called with the number of pictures encoded."""
        begun = time.monotonic()
        setup, settings, patience_s = self._setup, self._treatment.settings, self._setup.patience_s
        path, window = Path(self._place.here(task.part)), task.chunk.window
        self._notices.clear()
        slots = self._slots or self._open()
        try:
            with ExitStack() as stack, Crew(patience_s, name="chunk") as crew:
                encoder = Encoder(settings, crew, slots, patience_s)  # starts while the source is opened
                source = open_source(
                    self._place.here(setup.source),
                    setup.span,
                    device=self._means.plan.kind,
                    patience_s=patience_s,
                    window=window,
                )
                stack.enter_context(source)
                self._check(source)
                opened = time.monotonic()
                upscaled = through(self._engines, source.frames(), self._treatment.budget.batch, slots, crew)
                packets = crew.ahead(encoder.encode(upscaled), ENCODED_AHEAD, "encode")
                facts = crew.run(lambda: _write(path, _told(packets, tell), encoder), "write")
                peak_bytes = tree_memory()
        except BaseException:
            self._close()  # pictures may still lie in slots that nobody will give back
            raise
        readings, written = crew.meters.snapshot(), time.monotonic()
        if facts is not None:
            check_part(path, facts, decode=True, threads=self._place.threads)
        elif self._place.folder:
            path.touch()  # what travels back is a file, even of no pictures
        if source.frames_decoded != (facts.frames if facts else 0):
            what = f"{source.frames_decoded} pictures were decoded, {facts.frames if facts else 0} are in the part"
            raise FrameMismatch(what, stage="chunk", index=task.chunk.index)
        done = time.monotonic()
        seconds = {
            "open": opened - begun,
            "decode": readings["decode"].busy_s,
            "upscale": readings["upscale[0]"].busy_s,
            "encode": encoder.stats.busy_s,
            "check": done - written,
            "total": done - begun,
        }
        decoded = Decoded.of(source)
        decoded = replace(decoded, notices=(*decoded.notices, *self._notices))
        return ChunkDone(facts, decoded, seconds, peak_bytes)

    def _open(self) -> SlotRing:
        self._slots = self.stack.enter_context(open_slots(self._treatment, 1))
        self._engines = open_treatment(self.stack, self._means, self._treatment, self._slots, self._notices.append)
        return self._slots

    def _close(self) -> None:
        self._slots = None
        self._engines = []
        self.stack.close()

    def _check(self, source: VideoSource) -> None:
        """All chunks are treated as the film's first pictures say."""
        here, planned = source.info, self._setup.treatment.info
        if (here.layout, here.color, here.orientation, here.time_base) != (
            planned.layout,
            planned.color,
            planned.orientation,
            planned.time_base,
        ):
            what = f"the source is decoded in another way here: {here.layout.pix_fmt}, planned {planned.layout.pix_fmt}"
            raise SourceError(what, where=here.path, remedy="Install the same versions on all machines.")


def _check_source(path: str, setup: ChunkSetup) -> None:
    try:
        num_bytes = os.stat(path).st_size
    except OSError as error:
        remedy = "Give it the same path on all machines, or use --transport objects."
        raise SourceError(f"the source cannot be read here: {error.strerror}", where=path, remedy=remedy) from error
    if num_bytes != setup.source_bytes:
        what = f"the source has {num_bytes} bytes here, {setup.source_bytes} when the job was planned"
        raise SourceError(what, where=path, remedy="Give all machines the same file.")


def _write(path: Path, packets: Iterator[Packet], encoder: Encoder) -> PartFacts | None:
    first = next(packets, None)
    return None if first is None else write_part(path, chain((first,), packets), encoder.stream_template)


def _told(packets: Iterator[Packet], tell: Callable[[int], None]) -> Iterator[Packet]:
    for number, packet in enumerate(packets, start=1):
        yield packet
        tell(number)
