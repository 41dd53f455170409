"""The slots of an ingest: filled by its process, given back by whoever has a picture, from any thread, at any time."""

from __future__ import annotations

import contextlib
import threading

from streamsr.runtime.child import Child
from streamsr.runtime.gate import Cancelled
from streamsr.runtime.slots import SlotRing

SLOT_BYTES = 1 << 28
"""Enough for 8K in 4:4:4 of 12 bit. Only what is used of it costs memory."""
SEND_S = 5.0


class IngestSlots:
    """`ring` goes to the process, which is told what is free. Slots that are out stay out when the process is replaced,
    and readable after `close` until they are given back."""

    def __init__(self, count: int) -> None:
        self.ring = SlotRing(count, SLOT_BYTES, reserve=False)
        self._out: set[int] = set()
        self._child: Child | None = None
        self._is_closed = False
        self._lock = threading.Lock()  # also of the pipe's writing end

    @property
    def all_out(self) -> bool:
        return len(self._out) == self.ring.count

    def attach(self, child: Child) -> None:
        """The process that fills the slots from now on. Raises as Child.send."""
        with self._lock:
            self._child = child
            for index in range(self.ring.count):
                if index not in self._out:
                    child.send(("free", index), SEND_S)

    def detach(self) -> None:
        """The process is to be stopped: nothing is sent to it any more."""
        with self._lock:
            self._child = None

    def lease(self, index: int) -> LeasedSlot:
        """The slot that the process has filled."""
        with self._lock:
            self._out.add(index)
        return LeasedSlot(self, index)

    def give_back(self, index: int) -> None:
        """What `LeasedSlot.release` does."""
        with self._lock:
            assert index in self._out, f"slot {index} released twice"
            self._out.remove(index)
            if self._child is not None:
                # A dead process is noticed where it is listened to.
                with contextlib.suppress(EOFError, OSError, Cancelled):
                    self._child.send(("free", index), SEND_S)
            self._close_if_unused()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._is_closed and not self._out:
            self.ring.close()


class LeasedSlot:
    """The memory of one picture of an ingest. `release` gives it back, once, from any thread."""

    def __init__(self, slots: IngestSlots, index: int) -> None:
        self._slots, self.index = slots, index

    def __repr__(self) -> str:
        return f"LeasedSlot({self.index})"

    @property
    def memory(self) -> memoryview:
        return self._slots.ring.memory(self.index)

    def release(self) -> None:
        self._slots.give_back(self.index)
