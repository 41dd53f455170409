"""What waits for one target: bounded in time, so that a slow one loses pictures instead of growing."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice

from streamsr.live_frames import OUT_TIME_BASE, LiveAudio, LiveVideo

Packet = LiveVideo | LiveAudio
_TICK_S = float(OUT_TIME_BASE)


class PacketQueue:
    """Packets in their order. Beyond `most_s` seconds the oldest pictures are left out, up to the next key frame; sound
    is kept for as long as `most_s`. Each is measured by its own kind: a slow network's pictures come seconds after
    their sound, and are not late for the target. Any thread may put, one takes."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._changed = threading.Condition()
        self._waiting: deque[Packet] = deque()
        self._newest_s = {LiveVideo: 0.0, LiveAudio: 0.0}
        self._wants_key = True
        self._dropped = 0
        self._is_closed = False

    @property
    def dropped(self) -> int:
        """Pictures left out so far."""
        return self._dropped

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, packet: Packet) -> None:
        """Never waits. After `close` nothing is taken any more."""
        with self._changed:
            if self._is_closed:
                return
            if isinstance(packet, LiveVideo):
                if self._wants_key and not packet.is_keyframe:
                    self._dropped += 1
                    return
                self._wants_key = False
            self._waiting.append(packet)
            self._newest_s[type(packet)] = max(self._newest_s[type(packet)], time_of(packet))
            self._trim()
            self._changed.notify()

    def take(self, timeout_s: float) -> Packet | None:
        """The oldest packet; None when there is none for `timeout_s` seconds, or after `close` none at all."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed, timeout_s)
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    @property
    def is_over(self) -> bool:
        """Closed, and all of it taken."""
        return self._is_closed and not self._waiting

    def begin_again(self, *, at_newest: bool, is_first: bool = False) -> None:
        """For a new connection: what waits begins with a key frame, the newest one or the oldest. What came before the
        first connection does not count as left out."""
        with self._changed:
            keys = [index for index, packet in enumerate(self._waiting) if _is_key(packet)]
            self._wants_key = not keys
            first = (keys[-1] if at_newest else keys[0]) if keys else len(self._waiting)
            since_s = time_of(self._waiting[first]) if keys else float("inf")
            kept = [
                packet
                for index, packet in enumerate(self._waiting)
                if index >= first or (isinstance(packet, LiveAudio) and (not keys or packet.time_s >= since_s))
            ]
            if not is_first:
                self._dropped += sum(isinstance(packet, LiveVideo) for packet in islice(self._waiting, first))
            self._waiting = deque(kept)

    def _is_late(self, packet: Packet) -> bool:
        return time_of(packet) < self._newest_s[type(packet)] - self._most_s

    def _trim(self) -> None:
        late = [index for index, packet in enumerate(self._waiting) if self._is_late(packet)]
        if not late:
            return
        pictures = [index for index, packet in enumerate(self._waiting) if isinstance(packet, LiveVideo)]
        late_pictures = [index for index in late if isinstance(self._waiting[index], LiveVideo)]
        until = 0
        if late_pictures:
            after = [index for index in pictures if index > late_pictures[-1] and _is_key(self._waiting[index])]
            until = after[0] if after else len(self._waiting)
            self._wants_key = not after
            self._dropped += sum(index < until for index in pictures)
        self._waiting = deque(
            packet
            for index, packet in enumerate(self._waiting)
            if not self._is_late(packet) and (index >= until or isinstance(packet, LiveAudio))
        )


def time_of(packet: Packet) -> float:
    """Seconds of the output's timeline."""
    return packet.dts * _TICK_S if isinstance(packet, LiveVideo) else packet.time_s


def _is_key(packet: Packet) -> bool:
    return isinstance(packet, LiveVideo) and packet.is_keyframe
