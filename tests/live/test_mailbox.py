"""The mailbox: the newest picture wins, or the source waits; no slot is ever forgotten."""

from __future__ import annotations

import threading
import time
from fractions import Fraction

import pytest

from streamsr.frames import ColorTags, PixelLayout
from streamsr.live.mailbox import Mailbox
from streamsr.live.stats import Counters
from streamsr.live_frames import LiveInfo, LivePicture
from streamsr.runtime.gate import Cancelled, Gate

INFO = LiveInfo(0, "test", "raw", 2, 2, PixelLayout(), ColorTags(1), Fraction(25))


class CountedSlot:
    def __init__(self) -> None:
        self.releases = 0

    def release(self) -> None:
        self.releases += 1


def picture(number: int, decoded_s: float = 100.0, arrived_s: float | None = None) -> LivePicture:
    return LivePicture(CountedSlot(), INFO, float(number), decoded_s if arrived_s is None else arrived_s, decoded_s)


def newest(depth: int = 1) -> tuple[Mailbox, Counters]:
    counters = Counters()
    return Mailbox("newest-wins", 0.5, counters, threading.Condition(), depth), counters


def test_the_newest_replaces_what_waits() -> None:
    mailbox, counters = newest()
    pictures = [picture(number) for number in range(4)]
    for each in pictures:
        mailbox.put(each, Gate())
        assert len(mailbox) == 1
    assert mailbox.take(100.1) is pictures[3]
    assert mailbox.take(100.1) is None
    assert [each.slot.releases for each in pictures] == [1, 1, 1, 0]
    assert counters["dropped_newest"] == 3


def test_depth_keeps_the_order() -> None:
    mailbox, counters = newest(depth=2)
    pictures = [picture(number) for number in range(4)]
    for each in pictures:
        mailbox.put(each, Gate())
    assert [mailbox.take(100.1), mailbox.take(100.1), mailbox.take(100.1)] == [pictures[2], pictures[3], None]
    assert counters["dropped_newest"] == 2


def test_stale_pictures_are_not_given_out() -> None:
    mailbox, counters = newest(depth=3)
    pictures = [picture(1, 100.0), picture(2, 100.2), picture(3, 101.0)]
    for each in pictures:
        mailbox.put(each, Gate())
    assert mailbox.take(101.2) is pictures[2]
    assert [each.slot.releases for each in pictures] == [1, 1, 0]
    assert counters["dropped_stale"] == 2


def test_a_decoder_that_keeps_pictures_does_not_make_them_stale() -> None:
    """One picture a second with reordering: its packet came in three seconds ago, the picture exists since now."""
    mailbox, counters = newest()
    mailbox.put(picture(1, decoded_s=100.0, arrived_s=97.0), Gate())
    assert mailbox.take(100.1) is not None
    assert counters["dropped_stale"] == 0


def waiting_mailbox() -> tuple[Mailbox, Counters]:
    counters = Counters()
    mailbox = Mailbox("wait", 0.5, counters, threading.Condition())
    mailbox.put(picture(1), Gate())
    return mailbox, counters


def test_wait_holds_the_source_up_and_loses_nothing() -> None:
    mailbox, counters = waiting_mailbox()
    thread = threading.Thread(target=lambda: mailbox.put(picture(2), Gate()))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    first = mailbox.take(1e9)  # nothing is stale either
    thread.join(5.0)
    second = mailbox.take(1e9)
    assert first is not None
    assert second is not None
    assert (first.time_s, second.time_s) == (1.0, 2.0)
    assert counters["dropped_newest"] == counters["dropped_stale"] == 0


@pytest.mark.parametrize("end", ["close", "abort"])
def test_who_waits_is_let_go(end: str) -> None:
    mailbox, _ = waiting_mailbox()
    gate, raised, late = Gate(), [], picture(2)

    def put() -> None:
        try:
            mailbox.put(late, gate)
        except Cancelled as error:
            raised.append(error)

    thread = threading.Thread(target=put)
    thread.start()
    thread.join(0.1)
    started = time.monotonic()
    if end == "close":
        mailbox.close()
    else:
        gate.abort(Cancelled("the test"))
    thread.join(5.0)
    assert time.monotonic() - started < 1.0
    assert late.slot.releases == 1
    assert bool(raised) == (end == "abort")


def test_close_releases_what_waits_and_what_comes() -> None:
    mailbox, _ = newest(depth=2)
    pictures = [picture(number) for number in range(3)]
    mailbox.put(pictures[0], Gate())
    mailbox.put(pictures[1], Gate())
    mailbox.close()
    mailbox.close()
    mailbox.put(pictures[2], Gate())
    assert [each.slot.releases for each in pictures] == [1, 1, 1]
    assert mailbox.take(100.0) is None


def test_the_taker_is_woken() -> None:
    ready = threading.Condition()
    mailbox = Mailbox("newest-wins", 0.5, Counters(), ready)
    woken = threading.Event()

    def wait() -> None:
        with ready:
            if ready.wait_for(lambda: len(mailbox) > 0, 5.0):
                woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    mailbox.put(picture(1), Gate())
    thread.join(5.0)
    assert woken.is_set()


def test_slots_are_released_outside_the_lock() -> None:
    """An ingest tells its process of a free slot, which may take a moment."""
    ready = threading.Condition()
    mailbox = Mailbox("newest-wins", 0.5, Counters(), ready)

    class Nosy(CountedSlot):
        def release(self) -> None:
            def look() -> None:
                if ready.acquire(timeout=1.0):
                    found_free.append(True)
                    ready.release()

            thread = threading.Thread(target=look)
            thread.start()
            thread.join(5.0)
            super().release()

    found_free: list[bool] = []
    first = LivePicture(Nosy(), INFO, 0.0, 100.0, 100.0)
    mailbox.put(first, Gate())
    mailbox.put(picture(2), Gate())
    assert (first.slot.releases, found_free) == (1, [True])
