"""What a preview shows, without any window: the newest picture of a source, upscaled, next to what it was made from.

One thread takes pictures in, one upscales the newest; whoever looks on gets pairs through a callback."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pipelines.live_threads import LiveThreads
from pipelines.preview_bench import PreviewBench
from pipelines.preview_plan import SCALES, shown_size
from pipelines.preview_upscaler import SHOWN_COLOR, SHOWN_LAYOUT
from streamsr.config import Section, UpscaleConfig
from streamsr.errors import StreamSRError
from streamsr.live.address import Secrets, SourceAddress
from streamsr.live.latency import Latency
from streamsr.live.mailbox import Mailbox
from streamsr.live.rate import Rate
from streamsr.live.stats import Counters, Percentiles
from streamsr.live_config import IngestConfig
from streamsr.live_frames import LiveInfo, LivePicture
from streamsr.media.ingest import Away, Ingest, Opened
from streamsr.runtime.gate import Cancelled, Gate

STALE_S = 5.0
"""A slow model takes what is there; only after a pause of the whole machine a picture is too old to be shown."""
END_S = 1.5
WAIT_S = 0.25
NOTHING = Percentiles(0.0, 0.0, 0)


class PreviewConfig(Section):
    ingest: IngestConfig = IngestConfig()
    """Of the source, if there is one."""
    upscale: UpscaleConfig = UpscaleConfig()
    """As for files; scale, to and model are the first choice."""


@dataclass(frozen=True, slots=True)
class PreviewStats:
    """Numbers of the last seconds. `state`: starting, live, away, ended. `size_*`: (width, height) of the source, of
    the picture the network sees (smaller where a CPU would not keep up), and of the result; (0, 0) while unknown.
    `scale`: result over network input. `latency_*`: from the packet's arrival to the callback."""

    state: str
    model: str
    device: str
    scale: float
    size_source: tuple[int, int]
    size_in: tuple[int, int]
    size_out: tuple[int, int]
    fps_in: float
    fps_out: float
    latency_p50_ms: float
    latency_p99_ms: float
    upscale_p50_ms: float
    dropped: int


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A picture and what became of it. The arrays are the job's: they may be read until the callback returns, whoever
    wants to keep them copies.

    `original`: (H, W, 3) RGB uint8, upright, square pixels: what the network saw. `upscaled`: the three planes Y, U, V
    (uint8) of SHOWN_LAYOUT and SHOWN_COLOR, `size_out` large. `time_s`: the picture's own time, as given to `push` or
    by the source; `arrived_s`: of time.monotonic()."""

    number: int
    original: np.ndarray = field(repr=False)
    upscaled: tuple[np.ndarray, ...] = field(repr=False)
    size_out: tuple[int, int]
    time_s: float
    arrived_s: float
    stats: PreviewStats


class _Borrowed:
    """Memory of a picture from elsewhere, in the place of a slot."""

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory

    def release(self) -> None:
        """It belongs to whoever pushed it."""


def pushed_info(width: int, height: int) -> LiveInfo:
    """What `PreviewJob.push` wants to know of I420 pictures that come from a browser (BT.601, limited range)."""
    return LiveInfo(0, "browser", "raw", width, height, SHOWN_LAYOUT, SHOWN_COLOR, None)


class PreviewJob:
    """`start` returns at once. `on_pair` is called on the job's thread for each upscaled picture; while it runs, newer
    pictures replace each other. `on_end` is called once, on another thread, when the job ended by itself: `error` says
    why, None after the end of a file. `source` None: pictures come through `push`.

    All methods may be called from any thread and return at once, `close` within about two seconds."""

    def __init__(
        self,
        source: SourceAddress | None,
        cfg: PreviewConfig,
        on_pair: Callable[[Pair], None],
        notice: Callable[[str], None],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.error: StreamSRError | None = None
        self._on_pair, self._on_end = on_pair, on_end
        self._secrets = Secrets(source.url) if source is not None else Secrets()
        self._notice = notice
        self._gate, self._counters, self._latency = Gate(), Counters(), Latency()
        self._ready = threading.Condition()
        self._mailbox = Mailbox("newest-wins", STALE_S, self._counters, self._ready)
        self._ingest = Ingest(source, cfg.ingest, self._gate, self._counters) if source is not None else None
        self._bench = PreviewBench(cfg.upscale, self._say)
        self._state = "starting" if source is not None else "live"
        self._size_source = (0, 0)
        self._measured: tuple[str, tuple[int, int]] | None = None
        self._rate_in, self._rate_out = Rate(), Rate()
        self._threads = LiveThreads("preview", self._secrets, self._fail)
        self._ending = threading.Lock()
        self._has_ended = False

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models on this machine, the one in use among them, fastest first."""
        return self._bench.models

    @property
    def scales(self) -> tuple[float, ...]:
        """The factors that `set_scale` is offered, ascending."""
        return SCALES

    def start(self) -> None:
        """Raises ConfigError, WeightsError for a device or a model that is not there."""
        self._bench.prepare()
        self._threads.run("upscale", self._upscale)
        if self._ingest is not None:
            self._threads.run("ingest", self._take_in)

    def close(self) -> None:
        """Idempotent. A picture that is being upscaled is waited for, for END_S at most; its thread ends by itself."""
        with self._ending:
            self._has_ended = True
        self._gate.abort(Cancelled("the preview was closed"))
        if self._ingest is not None:
            self._ingest.close()
        self._mailbox.close()
        self._threads.join(END_S)

    def set_model(self, name: str) -> None:
        """From the next picture on. A name that cannot be used is said in a notice, and nothing changes."""
        self._bench.want(model=name)

    def set_scale(self, factor: float) -> None:
        """From the next picture on: result over network input, 0 < factor <= 16; otherwise a notice."""
        self._bench.want(scale=factor)

    def push(self, packed: memoryview, info: LiveInfo, time_s: float) -> None:
        """A picture from elsewhere, packed as `info.layout.planes_of` reads it (for even sizes this is the memory of
        `av.VideoFrame.to_ndarray(format="yuv420p")`); `info` as of `pushed_info`. The memory is read until a pair with
        this `time_s` or a later one comes. Never blocks; newest wins. After the end it does nothing."""
        now = time.monotonic()
        with contextlib.suppress(Cancelled):
            self._put(LivePicture(_Borrowed(packed), info, time_s, now, now))

    def stats(self) -> PreviewStats:
        latency, bench = self._latency.snapshot(), self._bench
        total, upscale = latency.get("total", NOTHING), latency.get("upscale", NOTHING)
        counters = self._counters.snapshot()
        return PreviewStats(
            state=self._state,
            model=bench.model,
            device=bench.device,
            scale=bench.scale,
            size_source=self._size_source,
            size_in=bench.size_in,
            size_out=bench.size_out,
            fps_in=self._rate_in.per_s(),
            fps_out=self._rate_out.per_s(),
            latency_p50_ms=total.p50_ms,
            latency_p99_ms=total.p99_ms,
            upscale_p50_ms=upscale.p50_ms,
            dropped=sum(counters[name] for name in ("dropped_newest", "dropped_stale", "dropped_ingest")),
        )

    def _take_in(self) -> None:
        assert self._ingest is not None
        for event in self._ingest.events():
            match event:
                case LivePicture():
                    self._put(event)
                case Opened(info):
                    self._state = "live"
                    self._say(f"source {info.width}x{info.height} {info.codec}")
                case Away(reason, retry_in_s):
                    self._state = "away"
                    self._say(f"source away: {reason}; next try in {retry_in_s:.0f} s")
        while len(self._mailbox) and not self._gate.wait(WAIT_S):
            pass
        self._state = "ended"
        self._end(None)

    def _put(self, picture: LivePicture) -> None:
        self._rate_in.note()
        self._size_source = shown_size(picture.info)
        self._mailbox.put(picture, self._gate)

    def _upscale(self) -> None:
        try:
            while not self._gate.aborted:
                with self._ready:
                    self._ready.wait_for(lambda: len(self._mailbox) > 0 or self._gate.aborted, WAIT_S)
                picture = self._mailbox.take(time.monotonic())
                if picture is not None:
                    self._show(picture)
        finally:
            self._bench.close()

    def _show(self, picture: LivePicture) -> None:
        started_s = time.monotonic()
        try:
            done = self._bench.upscale(picture)
        finally:
            picture.slot.release()
        if done is None:
            return
        original, upscaled, size_out = done
        ended_s = time.monotonic()
        if self._measured != (self._bench.model, size_out):
            self._measured, self._latency = (self._bench.model, size_out), Latency()
        self._latency.add("upscale", ended_s - started_s)
        self._latency.add("total", ended_s - picture.arrived_s)
        self._rate_out.note()
        self._counters.add("pictures_out")
        number = self._counters["pictures_out"]
        self._on_pair(Pair(number, original, upscaled, size_out, picture.time_s, picture.arrived_s, self.stats()))

    def _say(self, text: str) -> None:
        self._notice(self._secrets.hide(text))

    def _end(self, error: StreamSRError | None) -> None:
        with self._ending:
            if self._has_ended:
                return
            self._has_ended, self.error = True, error
        self._on_end()

    def _fail(self, error: StreamSRError) -> None:
        self._state = "ended"
        self._gate.abort(error)
        self._end(error)
