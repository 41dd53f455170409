"""One process of a target, from its start to its end: fed from the queue, and watched whether it moves."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from streamsr.live_frames import LiveAudio, LiveVideo
from streamsr.media.publish_queue import PacketQueue
from streamsr.media.publish_worker import PublishJob, publish_packets
from streamsr.runtime.child import Child
from streamsr.runtime.gate import Cancelled, Gate

START_S = 20.0
"""How long the process may take to load its libraries on a busy machine."""
SLICE_S = 0.1
MOST_UNDER_WAY = 32
"""Packets that the process may have without having said that they are sent. What waits longer waits in the queue, where
it may be left out."""
END_S = 1.0
"""For the process to give its file an end when the job is aborted."""
_UNBOUNDED_S = 3600.0  # a send ends with the process, which is the watchdog's to end
_KEEPS_ALL = ("record", "hls")


class PublishSession:
    """`run` once. `sent` is called with each packet that the muxer has taken.

    `stall_s`: how long the process may owe an answer. `kill_at_s`: when it is killed in any case; may be set later."""

    def __init__(
        self,
        name: str,
        job: PublishJob,
        queue: PacketQueue,
        gate: Gate,
        stall_s: float,
        sent: Callable[[LiveVideo | LiveAudio], None],
    ) -> None:
        self.kill_at_s: float | None = None
        self.is_open = False
        self.began_s = time.monotonic()
        self._name, self._job, self._queue, self._gate = name, job, queue, gate
        self._stall_s, self._sent = stall_s, sent
        self._is_ready = self._is_ending = self._is_over = False
        self._moved_s = self.began_s
        self._changed = threading.Condition()
        self._under_way: deque[LiveVideo | LiveAudio] = deque()

    @property
    def num_lost(self) -> int:
        """Pictures that the process had and has not sent; after `run`."""
        return sum(isinstance(packet, LiveVideo) for packet in self._under_way)

    def run(self) -> str | None:
        """Why the process ended, which may hold secrets; None when all is written. Raises Cancelled."""
        try:
            child = Child(self._name, publish_packets, (self._job,), self._gate)
        except OSError as error:
            return f"no process could be started: {error.strerror}"
        sender = threading.Thread(target=self._send_all, args=(child,), name=f"{self._name}.send")
        sender.start()
        patience_s = END_S
        try:
            reason = self._watch(child)
            patience_s = 0.0
            return reason
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify()
            sender.join(2 * SLICE_S)  # it may be inside a send that only the end of the process ends
            child.stop(patience_s)
            sender.join()

    def _send_all(self, child: Child) -> None:
        """The sender's thread: a process that reads nothing must not keep the watchdog from seeing that."""
        with suppress(EOFError, TimeoutError, OSError, ValueError, Cancelled):
            while not self._is_over:
                with self._changed:
                    if not self._changed.wait_for(self._may_send, SLICE_S):
                        continue
                packet = self._queue.take(SLICE_S)
                if packet is not None:
                    with self._changed:
                        if not self._under_way:
                            self._moved_s = time.monotonic()
                        self._under_way.append(packet)
                    child.send(("packet", packet), _UNBOUNDED_S)
                elif self._queue.is_over:
                    self._is_ending, self._moved_s = True, time.monotonic()
                    child.send(("end",), _UNBOUNDED_S)
                    return

    def _may_send(self) -> bool:
        return self.is_open and not self._is_over and len(self._under_way) < MOST_UNDER_WAY

    def _watch(self, child: Child) -> str | None:
        """Hears what the process says, and judges its silence. As `run`."""
        while True:
            if self.kill_at_s is not None and time.monotonic() > self.kill_at_s:
                return "it did not end in time"
            try:
                kind, *values = child.recv(SLICE_S)
            except EOFError:
                return _with_last_words(child, f"its process ended: {child.exit_status()}")
            except TimeoutError:
                if hangs := self._hangs():
                    return hangs
                continue
            self._moved_s = time.monotonic()
            match kind:
                case "ready":
                    self._is_ready = True
                case "opened":
                    # What came while the target was opened is old by now, except for files.
                    job = self._job
                    self._queue.begin_again(at_newest=job.kind not in _KEEPS_ALL, is_first=not job.is_again)
                    with self._changed:
                        self.is_open = True
                        self._changed.notify()
                case "sent":
                    self._note_sent(values[0])
                case "failed":
                    return _with_last_words(child, values[0])
                case "done":
                    return None

    def _hangs(self) -> str:
        """Whether the process owes an answer for too long, in words."""
        owes = not self.is_open or bool(self._under_way) or self._is_ending
        allowed_s = self._stall_s if self._is_ready else max(START_S, self._stall_s)
        if not owes or time.monotonic() - self._moved_s <= allowed_s:
            return ""
        return f"it {'took nothing' if self.is_open else 'did not answer'} for {allowed_s:g} s"

    def _note_sent(self, is_used: bool) -> None:
        with self._changed:
            packet = self._under_way.popleft()
            self._changed.notify()
        if is_used:
            self._sent(packet)


def _with_last_words(child: Child, reason: str) -> str:
    """`reason`, and the last thing that FFmpeg said."""
    lines = child.last_words().strip().splitlines()
    return f"{reason} ({lines[-1].strip()})" if lines else reason
