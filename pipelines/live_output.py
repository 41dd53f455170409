"""The way out of a live stream: one encoder, and a publisher for each target, so that none waits for another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from streamsr.live.address import TargetAddress
from streamsr.live.latency import Latency
from streamsr.live.stats import Counters, TargetStatus
from streamsr.live_config import PublishConfig
from streamsr.live_frames import AudioFormat, LiveAudio, LiveVideo
from streamsr.media.encoders import EncoderSettings
from streamsr.media.live_encode import LiveEncoder
from streamsr.media.publish import Publisher
from streamsr.runtime.gate import Gate
from streamsr.runtime.slots import Slot

MOST_UNDER_WAY = 1000
"""Pictures whose moments are kept: a target that is away never says that one was sent."""

Key = TypeVar("Key")


class LiveOutput:
    """Owns the encoder and the publishers of one stream. `run_packets` and `run_target` are bodies of threads."""

    def __init__(
        self,
        settings: EncoderSettings,
        carrier: AudioFormat | None,
        targets: tuple[TargetAddress, ...],
        cfg: PublishConfig,
        gate: Gate,
        counters: Counters,
        latency: Latency,
    ) -> None:
        self._carrier, self._latency, self._counters = carrier, latency, counters
        self.encoder = LiveEncoder(settings, gate, counters)
        self.publishers = tuple(
            Publisher(target, cfg, gate, f"publish[{number}]") for number, target in enumerate(targets)
        )
        for publisher in self.publishers:
            publisher.on_sent = self._sent
        self._begun = threading.Event()
        self._submitted_s: dict[float, float] = {}  # by the picture's arrival
        self._encoded_s: dict[int, float] = {}  # by pts
        self._told: dict[int, str] = {}

    def submit(self, slot: Slot, out_s: float, arrived_s: float) -> None:
        """Hands a picture to the encoder. Never blocks."""
        _remember(self._submitted_s, arrived_s, time.monotonic())
        self.encoder.submit(slot, out_s, arrived_s)

    def run_packets(self, note_out: Callable[[], None]) -> None:
        """Hands the encoder's packets to all targets. `note_out` is called for each picture that is not a held one."""
        for packet in self.encoder.packets():
            if not self._begun.is_set():
                assert self.encoder.template is not None, "a packet comes after its template"
                for publisher in self.publishers:
                    publisher.begin(self.encoder.template, self._carrier)
                self._begun.set()
            now = time.monotonic()
            if packet.arrived_s is not None:
                note_out()
                submitted_s = self._submitted_s.pop(packet.arrived_s, None)
                if submitted_s is not None:
                    self._latency.add("encode", now - submitted_s)
                _remember(self._encoded_s, packet.pts, now)
            for publisher in self.publishers:
                publisher.put(packet)

    def put_audio(self, packets: list[LiveAudio]) -> None:
        """Sound before the first picture is left out: targets begin with a picture."""
        if self._begun.is_set():
            for packet in packets:
                self._counters.add("audio_packets")
                for publisher in self.publishers:
                    publisher.put(packet)

    def show_slate(self, text: str, out_s: float) -> bool:
        """The newest picture, darkened, with `text` on it, at `out_s` and from then on. False if it cannot be now."""
        from streamsr.media.slate import write_slate  # OpenCV: only where somebody wants a slate

        slot = self.encoder.copy_newest()
        if slot is None:
            return False
        settings = self.encoder.settings
        planes = settings.layout.planes_of(slot.memory, settings.width, settings.height)
        write_slate(planes, settings.layout, text)
        del planes  # views of the slot
        self.encoder.submit(slot, out_s, None)
        return True

    def statuses(self) -> tuple[TargetStatus, ...]:
        return tuple(publisher.status() for publisher in self.publishers)

    def news(self) -> list[str]:
        """A line for each target whose state has changed since the last call. Called on one thread."""
        lines = []
        for number, (publisher, status) in enumerate(zip(self.publishers, self.statuses(), strict=True)):
            if status.state != self._told.get(number, "starting"):
                self._told[number] = status.state
                where = f": watch it at {publisher.watch_url}" if publisher.watch_url and status.state == "live" else ""
                why = f": {status.error}" if status.error and status.state in ("away", "failed") else ""
                lines.append(f"target {status.name} {status.state}{where or why}")
        return lines

    def close(self, timeout_s: float) -> None:
        """Ends encoder and targets cleanly, all targets at the same time; what does not end in time is killed."""
        deadline_s = time.monotonic() + timeout_s
        self.encoder.close(timeout_s / 2)
        left_s = max(0.0, deadline_s - time.monotonic())
        closers = [
            threading.Thread(target=publisher.close, args=(left_s,), name=f"close[{number}]")
            for number, publisher in enumerate(self.publishers)
        ]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(timeout_s + 5)

    def _sent(self, packet: LiveVideo) -> None:
        encoded_s = self._encoded_s.get(packet.pts)
        if packet.arrived_s is None or encoded_s is None:
            return
        now = time.monotonic()
        self._latency.add("publish", now - encoded_s)
        self._latency.add("total", now - packet.arrived_s)


def _remember(moments: dict[Key, float], key: Key, moment_s: float) -> None:
    """Keeps the newest only."""
    moments[key] = moment_s
    while len(moments) > MOST_UNDER_WAY:
        moments.pop(next(iter(moments)), None)
