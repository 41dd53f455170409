"""The encoder of a live stream: pictures in, packets out, for weeks.

The work is done by the process of encode_worker. It may die or hang at any moment; the next one begins with a key frame
and the newest picture."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from streamsr.errors import EncoderCrashed
from streamsr.live.backoff import Backoff
from streamsr.live.stats import Counters
from streamsr.live_frames import OUT_TIME_BASE, LiveVideo
from streamsr.media.encode_worker import encode_pictures
from streamsr.media.encoders import EncoderSettings
from streamsr.runtime.child import Child
from streamsr.runtime.gate import Cancelled, Gate
from streamsr.runtime.slots import Slot, SlotRing

SLICE_S = 0.25
START_S = 30.0
"""A process that has not said anything yet is given at least so long: it may have to load a driver."""
STEADY_S = 30.0
"""A process that broke after so long is replaced at once."""
MOST_BEHIND = 2
"""Pictures that may be with the process when one is to be shown again."""
KILL_S = 3.0
"""From giving up a process to its end."""
TRIES = 3
"""Processes that may fail before the first packet."""


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    slot: Slot
    pts: int
    arrived_s: float | None


class LiveEncoder:
    """Feed it through `lease`, `submit` and `repeat` from any thread; `packets` runs on a thread of its own and owns
    the process. The newest picture is kept until a newer one has been submitted. `close` has to be called.

    `patience_s`: how long the process may be silent while it has something to do. An abort of `gate` ends `packets`."""

    def __init__(
        self,
        settings: EncoderSettings,
        gate: Gate,
        counters: Counters,
        *,
        num_slots: int = 6,
        patience_s: float = 10.0,
    ) -> None:
        self.settings = settings
        self.slots = SlotRing(num_slots, settings.layout.num_bytes(settings.width, settings.height))
        self.template: bytes | None = None
        """What `encode.add_encoded_stream` needs, from the first packet on; None before."""
        self.trouble = ""
        """Why the process was replaced the last time; "" if it never was."""
        self._gate, self._counters, self._patience_s = gate, counters, patience_s
        self._lock = threading.RLock()
        self._child: Child | None = None
        self._uses: dict[int, int] = {}  # slots that were submitted and are not released yet: how often in the process
        self._newest: _Picture | None = None
        self._arrived: dict[int, float | None] = {}
        self._last_pts = self._out_pts = -1
        self._key_ticks = settings.gop / settings.rate / OUT_TIME_BASE
        self._key_pts = self._num_since_key = 0
        self._num_sent = self._num_taken = 0
        self._is_closed = False
        self._closed, self._given_up = threading.Event(), threading.Event()
        self._ended = threading.Event()
        self._ended.set()

    def lease(self) -> Slot | None:
        """A slot to write the next picture to; None while there is none. Never blocks."""
        if not self.slots.num_free or self._is_closed or self._gate.aborted:
            return None
        try:
            return self.slots.lease(self._gate, 0.0)
        except (TimeoutError, Cancelled):
            return None

    def submit(self, slot: Slot, out_s: float, arrived_s: float | None) -> None:
        """The picture in `slot` at `out_s` on the output's timeline, later than all before it (if not, it becomes one
        tick later). The slot is the encoder's from now on. Never blocks."""
        with self._lock:
            if self._is_closed:
                slot.release()
                return
            before, self._newest = self._newest, _Picture(slot, self._pts(out_s), arrived_s)
            self._uses[slot.index] = 0
            if before is not None:
                self._release_if_unused(before.slot.index)
            self._send(self._newest)

    def repeat(self, out_s: float) -> bool:
        """The newest picture once more, at `out_s`. False if there is none or the encoder is behind."""
        with self._lock:
            if self._newest is None or self._child is None or self._num_sent - self._num_taken >= MOST_BEHIND:
                return False
            self._newest = _Picture(self._newest.slot, self._pts(out_s), None)
            return self._send(self._newest)

    def copy_newest(self) -> Slot | None:
        """A leased slot that holds a copy of the newest picture, to draw on; None without a picture or a slot."""
        with self._lock:
            slot = self.lease() if self._newest is not None else None
            if slot is not None and self._newest is not None:
                slot.memory[:] = self._newest.slot.memory
            return slot

    def packets(self) -> Iterator[LiveVideo]:
        """The packets in the order of their times. Ends after `close` or an abort of the gate. To be called once.

        A process that died, failed or hung is replaced; the pictures it still had are lost, except the newest. Raises
        EncoderCrashed when none of the first processes has given a packet."""
        self._ended.clear()
        backoff, begun_s = Backoff(first_s=0.5, most_s=10.0), float("-inf")
        num_started = 0
        try:
            while not self._is_over:
                if time.monotonic() - begun_s > STEADY_S:
                    backoff.reset()
                elif self._closed.wait(backoff.next_s()) or self._is_over:
                    return
                if num_started:
                    begun_s = time.monotonic()
                    self._counters.add("encoder_restarts")
                num_started += 1
                child = self._start()
                why = yield from self._packets_of(child)
                self._retire(child)
                if self._is_over:
                    return
                self.trouble = why
                if self.template is None and num_started >= TRIES:
                    raise EncoderCrashed(why, last_words=child.last_words())
        finally:
            self._retire(self._child)
            self._ended.set()

    def close(self, timeout_s: float) -> None:
        """Lets `packets` give what is still under way, for at most `timeout_s` seconds, and ends the process. From any
        thread but that of `packets`. Idempotent. Slots that are still leased keep their memory."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._tell(("end",))
        self._closed.set()
        if not self._ended.wait(timeout_s):
            self._given_up.set()
            self._ended.wait(KILL_S)
        with self._lock:
            self._newest = None
        self.slots.close()

    @property
    def _is_over(self) -> bool:
        return self._is_closed or self._gate.aborted

    def _pts(self, out_s: float) -> int:
        self._last_pts = max(round(out_s / OUT_TIME_BASE), self._last_pts + 1)
        return self._last_pts

    def _start(self) -> Child:
        """A new process, which gets the newest picture if no packet of it has come out yet."""
        settings = self.settings
        child = Child("encode", encode_pictures, (settings, self.slots), self._gate)
        with self._lock:
            self._child, self._num_sent, self._num_taken = child, 0, 0
            if self._is_closed:
                self._tell(("end",))
            elif self._newest is not None and self._newest.pts > self._out_pts:
                self._send(self._newest)
        return child

    def _retire(self, child: Child | None) -> None:
        """Ends the process and takes back the slots that it had."""
        if child is not None:
            child.stop(0.0)
        with self._lock:
            self._child = None
            self._arrived.clear()
            for index in list(self._uses):
                self._uses[index] = 0
                self._release_if_unused(index)

    def _packets_of(self, child: Child) -> Generator[LiveVideo, None, str]:
        """What one process gives. Returns why it is of no more use."""
        moved_s, patience_s = time.monotonic(), max(self._patience_s, START_S)
        while not self._given_up.is_set():
            try:
                message = child.recv(SLICE_S)
            except TimeoutError:
                if self._num_sent == self._num_taken and not self._is_closed:
                    moved_s = time.monotonic()
                elif time.monotonic() - moved_s > patience_s:
                    return f"the encoder process has hung for {patience_s:g} s"
                continue
            except (EOFError, OSError):
                return f"the encoder process ended: {child.exit_status()}"
            except Cancelled:
                return "cancelled"
            moved_s, patience_s = time.monotonic(), self._patience_s
            match message:
                case ("packet", data, pts, _, is_keyframe):
                    yield self._packet(data, pts, is_keyframe)
                case ("template", container):
                    # A later process makes the same stream: its settings are the same.
                    self.template = self.template or container
                case ("free", index):
                    self._free(index)
                case ("taken", _):
                    self._num_taken += 1
                case ("failed", reason):
                    return f"the encoder refused: {reason}"
                case ("done", _):
                    return "done"
                case _:
                    raise AssertionError(f"unknown message {message!r}")
        return "given up"

    def _packet(self, data: bytes, pts: int, is_keyframe: bool) -> LiveVideo:
        """dts is pts: the encoder neither reorders nor looks ahead."""
        with self._lock:
            self._out_pts = pts
            arrived_s = self._arrived.pop(pts, None)
        return LiveVideo(data, pts, pts, is_keyframe, arrived_s)

    def _free(self, index: int) -> None:
        with self._lock:
            self._uses[index] -= 1
            self._release_if_unused(index)

    def _release_if_unused(self, index: int) -> None:
        if not self._uses[index] and (self._newest is None or self._newest.slot.index != index):
            del self._uses[index]
            self.slots.slot(index).release()

    def _send(self, picture: _Picture) -> bool:
        """False while there is no process that listens: `_start` sends the newest picture to the next one."""
        is_key = self._is_key_due(picture.pts)
        if not self._tell(("picture", picture.slot.index, picture.pts, is_key)):
            return False
        if is_key:
            self._key_pts, self._num_since_key = picture.pts, 0
        self._num_since_key += 1
        self._arrived[picture.pts] = picture.arrived_s
        self._uses[picture.slot.index] += 1
        self._num_sent += 1
        return True

    def _is_key_due(self, pts: int) -> bool:
        """By number, as the encoder counts too, and by time: a camera may be slower than it says, or away."""
        is_first = not self._num_sent
        return is_first or self._num_since_key >= self.settings.gop or pts - self._key_pts >= self._key_ticks

    def _tell(self, message: tuple[Any, ...]) -> bool:
        """The pipe holds far more than the messages for all slots, so a process that hangs is not waited for."""
        with contextlib.suppress(EOFError, OSError, TimeoutError, Cancelled):
            if self._child is not None:
                self._child.send(message, 0.0)
                return True
        return False
