"""Pictures in memory shared with a child process: a ring of equal slots, leased and returned.

The memory is an anonymous file: no name, so nothing is left behind whoever is killed, and /dev/shm's size is no limit.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import multiprocessing.context
import os
import tempfile
import threading
import time
from collections import deque
from multiprocessing import reduction
from types import TracebackType
from typing import Any

from streamsr.errors import StreamSRError
from streamsr.runtime.channel import POLL_S
from streamsr.runtime.gate import Gate
from streamsr.runtime.memory import available_memory
from streamsr.runtime.meters import current_meter


class Slot:
    """One picture's memory. Whoever holds the lease may write; `release` returns it to the ring, once."""

    def __init__(self, ring: SlotRing, index: int) -> None:
        self._ring, self.index = ring, index

    def __repr__(self) -> str:
        return f"Slot({self.index})"

    @property
    def memory(self) -> memoryview:
        """Writable, `slot_bytes` long, starts on a page. Views keep the mapping alive, not the lease."""
        return self._ring.memory(self.index)

    def release(self) -> None:
        """Give the slot back, from any thread. A second release of one lease is an AssertionError."""
        self._ring.give_back(self.index)


class MappedSlots:
    """The slots as a child process sees them: the same memory, no leases. What a `SlotRing` arrives as in a child."""

    def __init__(self, descriptor: int, count: int, slot_bytes: int) -> None:
        self.count, self.slot_bytes = count, slot_bytes
        self._stride = _stride(slot_bytes)
        self._mapped: mmap.mmap | None = mmap.mmap(descriptor, self.total_bytes)

    @property
    def total_bytes(self) -> int:
        """Length of the mapping: every slot starts on a page."""
        return self.count * self._stride

    @property
    def base_address(self) -> int:
        """Address of slot 0 in this process, for page-locking the whole region."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def memory(self, index: int) -> memoryview:
        """The `slot_bytes` bytes of slot `index`, writable."""
        if not 0 <= index < self.count:
            raise IndexError(f"slot {index} of {self.count}")
        start = index * self._stride
        return memoryview(self._map)[start : start + self.slot_bytes]

    def close(self) -> None:
        """Unmap; where views are still alive, the mapping goes with the last of them."""
        mapped, self._mapped = self._mapped, None
        with contextlib.suppress(BufferError):
            if mapped is not None:
                mapped.close()

    @property
    def _map(self) -> mmap.mmap:
        assert self._mapped is not None, "the slots are closed"
        return self._mapped


class SlotRing(MappedSlots):
    """`count` slots of `slot_bytes` bytes, shared with the children it is passed to. A with-block; the longest free
    slot is leased first. Raises StreamSRError when the memory cannot be had.

    `reserve` False: a page costs memory once somebody has written to it, not before. For slots that must hold the
    largest picture that may come, though it hardly ever does."""

    def __init__(self, count: int, slot_bytes: int, *, reserve: bool = True) -> None:
        assert min(count, slot_bytes) >= 1, f"{count} slots of {slot_bytes} bytes"
        self._descriptor = _anonymous_file(count * _stride(slot_bytes), reserve=reserve)
        try:
            super().__init__(self._descriptor, count, slot_bytes)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._free = deque(range(count))
        self._returned = threading.Condition()
        self._slots = tuple(Slot(self, index) for index in range(count))

    def __enter__(self) -> SlotRing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        multiprocessing.context.assert_spawning(self)
        return _attach, (reduction.DupFd(self._descriptor), self.count, self.slot_bytes)

    @property
    def num_free(self) -> int:
        return len(self._free)

    def slot(self, index: int) -> Slot:
        return self._slots[index]

    def lease(self, gate: Gate, timeout_s: float) -> Slot:
        """A free slot. Waits for one at most `timeout_s` seconds, then TimeoutError; Cancelled after an abort."""
        deadline = time.monotonic() + timeout_s
        with self._returned:
            gate.check()
            if not self._free:
                with current_meter().waiting("blocked"):
                    while not self._free:
                        self._returned.wait(POLL_S)
                        gate.check()
                        if not self._free and time.monotonic() > deadline:
                            raise TimeoutError(f"none of {self.count} slots came back for {timeout_s:g} s")
            index = self._free.popleft()
        current_meter().pulse()
        return self._slots[index]

    def give_back(self, index: int) -> None:
        """What `Slot.release` does."""
        with self._returned:
            assert index not in self._free, f"slot {index} released twice"
            self._free.append(index)
            self._returned.notify_all()

    def close(self) -> None:
        """Unmap and forget the memory; it is freed when no process and no view has it any more."""
        super().close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _stride(slot_bytes: int) -> int:
    return -(-slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE


def _anonymous_file(size: int, *, reserve: bool) -> int:
    """A descriptor of `size` bytes. With `reserve` they really exist: without it a full machine would answer a later
    write with SIGBUS, which no handler survives."""
    free = available_memory()
    remedy = "Lower --batch or the output size, or free memory."
    if reserve and size > free:
        raise StreamSRError(f"shared memory of {size >> 20} MiB does not fit into {free >> 20} MiB", remedy=remedy)
    descriptor = -1
    try:
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("streamsr-slots", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, size)
        if reserve and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        what = f"cannot get {size >> 20} MiB of shared memory: {error.strerror}"
        raise StreamSRError(what, remedy=remedy) from error
    return descriptor


def _attach(descriptor: Any, count: int, slot_bytes: int) -> MappedSlots:
    inherited = descriptor.detach()
    try:
        return MappedSlots(inherited, count, slot_bytes)
    finally:
        os.close(inherited)
