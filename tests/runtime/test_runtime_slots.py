from __future__ import annotations

import errno
import gc
import mmap
import os
import pickle
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsr.errors import StreamSRError
from streamsr.runtime.crew import Crew
from streamsr.runtime.gate import Cancelled, Gate
from streamsr.runtime.slots import Slot, SlotRing
from tests.runtime import child_targets as targets


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(1, 3 * mmap.PAGESIZE))
def test_slots_do_not_overlap_and_start_on_pages(count: int, slot_bytes: int) -> None:
    with SlotRing(count, slot_bytes) as ring:
        for index in range(count):
            memory = ring.slot(index).memory
            assert (len(memory), memory.readonly) == (slot_bytes, False)
            memory[:] = bytes([index + 1]) * slot_bytes
            del memory
        for index in range(count):
            assert bytes(ring.memory(index)) == bytes([index + 1]) * slot_bytes
        assert ring.base_address % mmap.PAGESIZE == 0
        assert ring.total_bytes % (count * mmap.PAGESIZE) == 0
        assert ring.total_bytes >= count * slot_bytes
        with pytest.raises(IndexError):
            ring.memory(count)


def test_the_longest_free_slot_is_leased_first() -> None:
    gate = Gate()
    with SlotRing(3, 10) as ring:
        first, second, third = (ring.lease(gate, 1) for _ in range(3))
        assert [slot.index for slot in (first, second, third)] == [0, 1, 2]
        assert ring.num_free == 0
        second.release()
        first.release()
        assert [ring.lease(gate, 1).index for _ in range(2)] == [1, 0]
        assert ring.slot(2) is third
        assert repr(third) == "Slot(2)"


def test_lease_waits_times_out_and_is_cancelled() -> None:
    gate = Gate()
    with SlotRing(1, 10) as ring:
        slot = ring.lease(gate, 1)
        with pytest.raises(TimeoutError, match="none of 1 slots"):
            ring.lease(gate, 0.1)
        timer = threading.Timer(0.1, slot.release)
        timer.start()
        assert ring.lease(gate, 30) is slot
        timer.join(5)
        timer = threading.Timer(0.1, lambda: gate.abort(ValueError("stop")))
        timer.start()
        with pytest.raises(Cancelled, match="stop"):
            ring.lease(gate, 30)
        timer.join(5)
        slot.release()
        with pytest.raises(Cancelled):
            ring.lease(gate, 30)


def test_a_second_release_is_a_mistake() -> None:
    with SlotRing(2, 10) as ring:
        slot = ring.lease(Gate(), 1)
        slot.release()
        with pytest.raises(AssertionError, match="slot 0 released twice"):
            slot.release()


def test_a_child_reads_and_writes_the_same_memory() -> None:
    with SlotRing(3, 5000) as ring, Crew(20.0) as crew:
        child = crew.process("child", targets.fill_slot, (ring, 1, 7))
        assert child.recv(20) == (3, 5000, ring.total_bytes)
        assert bytes(ring.memory(1)) == b"\7" * 5000
        assert bytes(ring.memory(0)) == bytes(5000)
        assert bytes(ring.memory(2)) == bytes(5000)


def test_without_a_reservation_memory_is_used_by_the_page() -> None:
    def resident_bytes() -> int:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE

    before = resident_bytes()
    with SlotRing(1024, 1 << 30, reserve=False) as ring:  # a terabyte, which no machine of ours has
        ring.memory(1023)[-1] = 7
        assert ring.memory(1023)[-1] == 7
        assert ring.memory(512)[0] == 0
        assert os.fstat(ring._descriptor).st_blocks * 512 <= 1 << 20
        assert resident_bytes() - before < 1 << 26
    with pytest.raises(StreamSRError, match="shared memory"):
        SlotRing(1024, 1 << 30)


def test_a_ring_is_not_pickled_elsewhere() -> None:
    with SlotRing(1, 1) as ring, pytest.raises(RuntimeError):
        pickle.dumps(ring)


def test_views_outlive_the_ring() -> None:
    with SlotRing(1, 10) as ring:
        memory = ring.memory(0)
        memory[:3] = b"abc"
    ring.close()
    with pytest.raises(AssertionError, match="closed"):
        ring.memory(0)
    assert bytes(memory[:3]) == b"abc"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("has_memfd", [True, False])
def test_nothing_is_left(monkeypatch: pytest.MonkeyPatch, has_memfd: bool) -> None:
    if not has_memfd:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    gc.collect()
    before = os.listdir("/proc/self/fd"), sorted(os.listdir("/dev/shm"))
    with SlotRing(2, 100_000) as ring:
        ring.memory(1)[0] = 1
        address = f"{ring.base_address:x}-"
        assert address in maps()
    gc.collect()
    assert (os.listdir("/proc/self/fd"), sorted(os.listdir("/dev/shm"))) == before
    assert address not in maps()


def maps() -> str:
    with open("/proc/self/maps", encoding="utf-8") as file:
        return file.read()


def test_more_than_there_is_is_refused() -> None:
    with pytest.raises(StreamSRError, match="does not fit") as caught:
        SlotRing(1024, 1 << 40)
    assert "--batch" in str(caught.value)


def test_a_full_machine_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(StreamSRError, match="cannot get 4 MiB of shared memory: No space left"):
        SlotRing(4, 1 << 20)
    assert os.listdir("/proc/self/fd") == before


def test_slots_go_round_between_threads() -> None:
    """Many leases, few slots: every item finds its own bytes where it put them."""
    with SlotRing(3, 8) as ring, Crew(20.0) as crew:

        def fill() -> Iterator[Slot]:
            for number in range(200):
                slot = ring.lease(crew.gate, 20)
                slot.memory[:] = number.to_bytes(8, "little")
                yield slot

        seen = []
        for slot in crew.ahead(fill(), 2, "upscale"):
            seen.append(int.from_bytes(slot.memory, "little"))
            slot.release()
        assert seen == list(range(200))
        assert ring.num_free == 3
