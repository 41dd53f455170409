"""Recording what a preview shows: the upscaled pictures, without sound, by the parts that restream."""

from __future__ import annotations

import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from pipelines.preview_job import Pair
from pipelines.preview_upscaler import SHOWN_COLOR, SHOWN_LAYOUT
from streamsr.errors import StreamSRError
from streamsr.live.address import TargetAddress
from streamsr.live.stats import Counters
from streamsr.live_config import LiveEncodeConfig, PublishConfig
from streamsr.media.live_encode import LiveEncoder
from streamsr.media.low_latency import low_latency
from streamsr.media.publish import Publisher, check_target
from streamsr.runtime.gate import Cancelled, Gate

END_S = 3.0
"""From the last picture to the trailer; without a trailer the file plays as well."""


class PreviewRecorder:
    """Files beside `path`, each with the time of its beginning in its name; a new size begins a new file. `put` is
    called on the job's thread and never blocks; the others from any thread. `said` tells whether it records."""

    def __init__(self, path: Path, notice: Callable[[str], None], said: Callable[[bool], None]) -> None:
        self._path, self._notice, self._said = path, notice, said
        self._target = TargetAddress("record", str(path))
        self._lock = threading.Lock()
        self._is_wanted = False
        self._take: _Take | None = None
        self._endings: list[threading.Thread] = []

    def check(self) -> None:
        """Raises ConfigError, SinkError for a place where nothing can be recorded."""
        check_target(self._target, PublishConfig())

    def toggle(self) -> None:
        """Starts with the next picture, or ends. What is wrong is said in a notice."""
        with self._lock:
            if self._is_wanted:
                self._is_wanted = False
                self._end()
                self._tell(False, "recording ended")
            elif self._try(self.check):
                self._is_wanted = True
                self._tell(True, f"recording to {self._shown}")

    def put(self, pair: Pair) -> None:
        """The pair's planes are copied."""
        with self._lock:
            if not self._is_wanted:
                return
            if self._take is not None and self._take.size != pair.size_out:
                self._end()
            if self._take is None:
                self._try(lambda: self._begin(pair))
            if self._take is not None:
                self._take.put(pair)

    def close(self) -> None:
        """Files get their end; at most END_S."""
        with self._lock:
            self._is_wanted = False
            self._end()
        for ending in self._endings:
            ending.join(END_S + 1)

    @property
    def _shown(self) -> str:
        return str(self._path.with_name(f"{self._path.stem}-TIME{self._path.suffix}"))

    def _begin(self, pair: Pair) -> None:
        self._take = _Take(pair, self._target)

    def _end(self) -> None:
        """In the background: an encoder may still have pictures."""
        take, self._take = self._take, None
        if take is not None:
            ending = threading.Thread(target=take.close, name="preview.record.end", daemon=True)
            self._endings = [each for each in self._endings if each.is_alive()] + [ending]
            ending.start()

    def _try(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except StreamSRError as error:
            self._is_wanted = False
            self._tell(False, f"no recording: {error}")
            return False
        return True

    def _tell(self, is_recording: bool, text: str) -> None:
        self._said(is_recording)
        self._notice(text)


class _Take:
    """One recording of one size, with an encoder and a writer of its own."""

    def __init__(self, pair: Pair, target: TargetAddress) -> None:
        self.size = pair.size_out
        self._began_s = pair.arrived_s
        self._gate = Gate()
        rate = Fraction(max(1.0, pair.stats.fps_in)).limit_denominator(1000)
        settings = low_latency(LiveEncodeConfig(), *self.size, SHOWN_COLOR, rate)
        assert settings.layout == SHOWN_LAYOUT, f"recordings are {SHOWN_LAYOUT}"
        self._encoder = LiveEncoder(settings, self._gate, Counters())
        self._publisher = Publisher(target, PublishConfig(audio="none"), self._gate, "record")
        self._threads = [
            threading.Thread(target=self._guarded, args=(call,), name=name, daemon=True)
            for name, call in (("preview.encode", self._encode), ("preview.record", self._publisher.run))
        ]
        for thread in self._threads:
            thread.start()

    def put(self, pair: Pair) -> None:
        """Pictures for which the encoder has no room are left out."""
        slot = self._encoder.lease()
        if slot is None:
            return
        for place, plane in zip(SHOWN_LAYOUT.planes_of(slot.memory, *self.size), pair.upscaled, strict=True):
            place[:] = plane
        self._encoder.submit(slot, pair.arrived_s - self._began_s, pair.arrived_s)

    def close(self) -> None:
        self._encoder.close(END_S / 2)
        self._publisher.close(END_S / 2)
        self._gate.abort(Cancelled("the recording has ended"))
        for thread in self._threads:
            thread.join(END_S)

    def _encode(self) -> None:
        has_begun = False
        for packet in self._encoder.packets():
            if not has_begun:
                assert self._encoder.template is not None, "a packet comes after its template"
                self._publisher.begin(self._encoder.template, None)
                has_begun = True
            self._publisher.put(packet)

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except (Cancelled, StreamSRError):
            return
