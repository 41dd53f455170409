"""A live stream as the station sees it: where its pictures come from, and where they go."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipelines.live_output import LiveOutput
from streamsr.config import UpscaleConfig
from streamsr.frames import ColorTags, PixelLayout
from streamsr.live.latency import Latency
from streamsr.live.mailbox import Mailbox
from streamsr.live.stats import Counters
from streamsr.live.timeline import Timeline
from streamsr.live_frames import LivePicture
from streamsr.runtime.slots import Slot


class StreamFeed:
    """Implements `station.Feed`. `deliver` places a picture on the output's timeline and hands it to the encoder."""

    def __init__(
        self,
        name: str,
        rungs: tuple[str, ...],
        upscale: UpscaleConfig,
        size: tuple[int, int],
        layout: PixelLayout,
        color: ColorTags,
        mailbox: Mailbox,
        output: LiveOutput,
        timeline: Timeline,
        latency: Latency,
        counters: Counters,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.name, self.rungs, self.upscale = name, rungs, upscale
        self.width, self.height = size
        self.layout, self.color = layout, color
        self.delivered_s: float | None = None
        """When the last picture was delivered (time.monotonic()); None before the first."""
        self._mailbox, self._output, self._timeline = mailbox, output, timeline
        self._latency, self._counters, self._on_failure = latency, counters, on_failure

    def ready(self) -> bool:
        return len(self._mailbox) > 0 and self._output.encoder.slots.num_free > 0

    def take(self) -> LivePicture | None:
        return self._mailbox.take(time.monotonic())

    def lease(self) -> Slot | None:
        return self._output.encoder.lease()

    def deliver(self, picture: LivePicture, slot: Slot, started_s: float, ended_s: float) -> None:
        """Called on the station's thread; never blocks."""
        out_s = self._timeline.video(picture.time_s, picture.arrived_s)
        if out_s is None:
            slot.release()
            return
        self._latency.add("decode", picture.decoded_s - picture.arrived_s)
        self._latency.add("wait", started_s - picture.decoded_s)
        self._latency.add("upscale", ended_s - started_s)
        self._output.submit(slot, out_s, picture.arrived_s)
        self.delivered_s = time.monotonic()

    def failed(self, error: Exception) -> None:
        """A picture was given up; the next one may fare better."""
        self._counters.add("upscale_failures")
        self._on_failure(error)
