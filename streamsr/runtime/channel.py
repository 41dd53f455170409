"""A bounded queue between two stages that knows its end and is woken by an abort."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

from streamsr.runtime.gate import Gate
from streamsr.runtime.meters import current_meter

T = TypeVar("T")

POLL_S = 0.05
"""How long a wait lasts before it looks at the gate again. An abort may come from a signal handler, which must not
take the locks of all channels; so waiters look, instead of being told."""


class Channel(Generic[T]):
    """At most `depth` items between one producer thread and one consumer.

    Iterating takes items in the order of `put`, ends after `end`, and raises Cancelled after an abort, even when items
    are left. Waiting counts as `blocked` on the producer's meter and as `starved` on the consumer's."""

    def __init__(self, depth: int, gate: Gate, name: str = "") -> None:
        assert depth >= 1, f"channel {name} with depth {depth}"
        self.name = name
        self._depth, self._gate = depth, gate
        self._items: deque[T] = deque()
        self._ended = self._is_read = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """Items waiting now."""
        return len(self._items)

    def wait_for_room(self) -> None:
        """Returns when a `put` of the only producer would not wait. Raises Cancelled."""
        with self._changed:
            self._wait(lambda: len(self._items) < self._depth, "blocked")

    def put(self, item: T) -> None:
        """Append `item`; waits for room. Raises Cancelled."""
        with self._changed:
            assert not self._ended, f"put after end in channel {self.name}"
            self._wait(lambda: len(self._items) < self._depth, "blocked")
            self._items.append(item)
            self._changed.notify_all()
        current_meter().pulse()

    def end(self) -> None:
        """No more items. The consumer still gets those that wait."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def __iter__(self) -> Channel[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            assert not self._is_read, f"two consumers of channel {self.name}"
            self._is_read = True
            try:
                self._wait(lambda: self._items or self._ended, "starved")
            finally:
                self._is_read = False
            if not self._items:
                raise StopIteration
            item = self._items.popleft()
            self._changed.notify_all()
        current_meter().take()
        return item

    def _wait(self, is_ready: Callable[[], object], state: Literal["starved", "blocked"]) -> None:
        self._gate.check()
        if is_ready():
            return
        with current_meter().waiting(state):
            while not is_ready():
                self._changed.wait(POLL_S)
                self._gate.check()
