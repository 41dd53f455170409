"""An Ingest whose events are collected on a thread, as its stream consumes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from streamsr.errors import SourceError
from streamsr.live.address import parse_source
from streamsr.live.stats import Counters
from streamsr.live_config import IngestConfig
from streamsr.live_frames import LiveAudio, LiveInfo, LivePicture
from streamsr.media.ingest import Away, Ingest, Opened
from streamsr.runtime.gate import Gate


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A picture as it came: its info, time, delays, and a copy of its luma (or green) plane."""

    info: LiveInfo
    time_s: float
    arrived_s: float
    decoded_s: float
    seen_s: float
    luma: np.ndarray[Any, Any]


class Events:
    """With-block around a running Ingest. `hold`: pictures are kept in `held`, not given back."""

    def __init__(
        self, source: str, *, num_slots: int = 8, may_wait: bool = False, hold: bool = False, **config: Any
    ) -> None:
        self.gate, self.counters = Gate(), Counters()
        cfg = IngestConfig(**config)
        self.ingest = Ingest(
            parse_source(source), cfg, self.gate, self.counters, num_slots=num_slots, may_wait=may_wait
        )
        self.hold = hold
        self.held: list[LivePicture] = []
        self.opened: list[LiveInfo] = []
        self.away: list[Away] = []
        self.pictures: list[Seen] = []
        self.audio: list[LiveAudio] = []
        self.error: SourceError | None = None
        self.has_ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._consume, name="events", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ingest.close()
        self._thread.join(10)
        assert not self._thread.is_alive(), "events do not end"

    @property
    def child_pid(self) -> int:
        child = self.ingest._child
        assert child is not None
        return child.pid

    def wait(self, condition: Callable[[], object], timeout_s: float = 30.0) -> None:
        """Until `condition` holds after some event. Fails with what has been seen."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not condition():
                assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {self}"
                assert not self.has_ended, f"the events have ended: {self}"
                self._changed.wait(0.1)

    def wait_for_end(self, timeout_s: float = 30.0) -> None:
        self._thread.join(timeout_s)
        assert self.has_ended, f"not within {timeout_s:g} s: {self}"

    def refusal(self, timeout_s: float = 30.0) -> SourceError:
        """The error that the events end with."""
        self.wait_for_end(timeout_s)
        assert self.error is not None, f"no error: {self}"
        return self.error

    def __repr__(self) -> str:
        counts = f"{len(self.pictures)} pictures, {len(self.audio)} audio packets, {len(self.opened)} sessions"
        return f"{counts}, {self.away}, {self.error!r}, {self.counters.snapshot()}"

    def _consume(self) -> None:
        try:
            for event in self.ingest.events():
                with self._changed:
                    self._note(event)
                    self._changed.notify_all()
        except SourceError as error:
            self.error = error
        finally:
            with self._changed:
                self.has_ended = True
                self._changed.notify_all()

    def _note(self, event: Any) -> None:
        match event:
            case Opened(info):
                self.opened.append(info)
            case Away():
                self.away.append(event)
            case LiveAudio():
                self.audio.append(event)
            case LivePicture(info=info):
                luma = info.layout.planes_of(event.slot.memory, info.width, info.height)[0].copy()
                seen = Seen(info, event.time_s, event.arrived_s, event.decoded_s, time.monotonic(), luma)
                self.pictures.append(seen)
                if self.hold:
                    self.held.append(event)
                else:
                    event.slot.release()
