"""Where the decoded pictures of one stream wait for the device."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal

from streamsr.live.stats import Counters
from streamsr.live_frames import LivePicture
from streamsr.runtime.channel import POLL_S
from streamsr.runtime.gate import Gate


class Mailbox:
    """Pictures in their order, at most `depth` of them, which any thread may change. One puts, one takes, any closes.

    `ready` is notified of every change; several mailboxes may share it. `len` is the number of pictures that wait.
    A picture belongs to the mailbox until it is taken: what is dropped is released here and counted."""

    def __init__(
        self,
        policy: Literal["newest-wins", "wait"],
        stale_s: float,
        counters: Counters,
        ready: threading.Condition,
        depth: int = 1,
    ) -> None:
        assert depth >= 1, f"room for {depth} pictures"
        self.depth = depth
        self._may_drop, self._stale_s = policy == "newest-wins", stale_s
        self._counters, self._ready = counters, ready
        self._waiting: deque[LivePicture] = deque()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, picture: LivePicture, gate: Gate) -> None:
        """Newest-wins: never blocks, the oldest goes when there is no room. Wait: blocks while there is no room; raises
        Cancelled once `gate` is aborted. After `close` the picture is released at once."""
        dropped: list[LivePicture] = []
        with self._ready:
            if self._may_drop:
                while len(self._waiting) >= self.depth:
                    dropped.append(self._waiting.popleft())
            else:
                while len(self._waiting) >= self.depth and not self._is_closed and not gate.aborted:
                    self._ready.wait(POLL_S)
            is_wanted = not self._is_closed and not gate.aborted
            if is_wanted:
                self._waiting.append(picture)
                self._ready.notify_all()
        self._drop(dropped, "dropped_newest")
        if not is_wanted:
            picture.slot.release()
            gate.check()

    def take(self, now_s: float) -> LivePicture | None:
        """The oldest picture, which is the taker's from then on; None if there is none. Never blocks.

        With newest-wins those that have waited for longer than `stale_s` are dropped. That time counts from
        `decoded_s`: a decoder that reorders keeps the pictures of a slow camera for seconds."""
        dropped: list[LivePicture] = []
        taken: LivePicture | None = None
        with self._ready:
            while self._waiting and taken is None:
                picture = self._waiting.popleft()
                if self._may_drop and now_s - picture.decoded_s > self._stale_s:
                    dropped.append(picture)
                else:
                    taken = picture
            self._ready.notify_all()
        self._drop(dropped, "dropped_stale")
        return taken

    def close(self) -> None:
        """Releases what waits and whatever comes. Idempotent."""
        with self._ready:
            self._is_closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._ready.notify_all()
        for picture in left:
            picture.slot.release()

    def _drop(self, pictures: list[LivePicture], counter: str) -> None:
        """Not under the lock: whoever gets a slot back may have to tell a process."""
        for picture in pictures:
            picture.slot.release()
            self._counters.add(counter)
