"""The station when pictures, streams, models, memory or the device fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch

from streamsr.errors import SourceError, StageFailed
from streamsr.frames import ColorTags
from streamsr.live_frames import LivePicture
from streamsr.upscale.batches import Batch
from streamsr.upscale.engine import HostLane
from streamsr.upscale.live_chain import LiveChain
from streamsr.upscale.station import Station
from tests.live.feeds import INFO, StationRig, station_rig

BAD = ColorTags(matrix=14, chroma_location=1)  # ICtCp, which nothing here can read


@pytest.fixture
def rig() -> Iterator[StationRig]:
    with station_rig() as made:
        yield made


def test_a_picture_that_raises_harms_nobody_else(rig: StationRig) -> None:
    good, bad = rig.feed("good"), rig.feed("bad")
    for number in range(6):
        good.show(number)
        bad.show(number, replace(INFO, color=BAD) if number in (2, 3) else INFO)
    rig.begin()
    good.wait(6)
    bad.wait(4, errors=2)
    assert good.numbers() == list(range(6))
    assert bad.numbers() == [0, 1, 4, 5]
    assert all(isinstance(error, SourceError) and "matrix 14" in str(error) for error in bad.errors)
    assert good.num_free == bad.num_free == (0, 0)


def test_a_batch_that_raises_is_tried_one_by_one(rig: StationRig, monkeypatch: pytest.MonkeyPatch) -> None:
    real = HostLane.submit

    def submit(lane: HostLane, batch: Batch, tile: int) -> torch.Tensor:
        if any(frame.planes[0][0, 0] == 77 for frame in batch.frames):
            raise RuntimeError("a broken kernel")
        return real(lane, batch, tile)

    monkeypatch.setattr(HostLane, "submit", submit)
    good, bad = rig.feed("good"), rig.feed("bad")
    for number in range(4):
        good.show(number)
        bad.show(number)
    with bad._station.ready:
        bad.mailbox._waiting[2].slot.memory[0] = 77
    rig.begin()
    good.wait(4)
    bad.wait(3, errors=1)
    assert (good.numbers(), bad.numbers()) == ([0, 1, 2, 3], [0, 1, 3])
    assert [str(error) for error in bad.errors] == ["a broken kernel"]
    assert good.errors == []
    assert good.num_free == bad.num_free == (0, 0)


def test_out_of_memory_is_the_engines_to_mend(rig: StationRig, monkeypatch: pytest.MonkeyPatch) -> None:
    real = HostLane.submit

    def submit(lane: HostLane, batch: Batch, tile: int) -> torch.Tensor:
        if len(batch.frames) > 1 or not tile:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.21 GiB")
        return real(lane, batch, tile)

    monkeypatch.setattr(HostLane, "submit", submit)
    monkeypatch.setattr("streamsr.upscale.engine.SMALLEST_TILE", 4)
    feeds = [rig.feed("a"), rig.feed("b")]
    for number in range(3):
        for feed in feeds:
            feed.show(number)
    rig.begin()
    for feed in feeds:
        feed.wait(3)
        assert (feed.numbers(), feed.errors) == ([0, 1, 2], [])
    assert any("tiles" in line for line in rig.notices)


@pytest.mark.parametrize("method", ["ready", "lease", "take", "deliver"])
def test_a_feed_that_raises_is_not_served_any_more(rig: StationRig, method: str) -> None:
    good, bad = rig.feed("good"), rig.feed("bad")

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    setattr(bad, method, broken)
    bad.show(1)
    rig.begin()
    bad.wait(0, errors=1)
    good.show(2)
    good.wait(1)
    assert [type(error) for error in bad.errors] == [ZeroDivisionError]
    assert rig.notices == ["bad is not upscaled any more: ZeroDivisionError: a bug"]


def test_a_source_that_is_gone_meanwhile_harms_nobody_else(rig: StationRig) -> None:
    """Its slot cannot be given back any more."""
    good, bad = rig.feed("good"), rig.feed("bad")
    bad.show(1)
    picture = bad.mailbox._waiting[0]
    picture.slot.release()  # the station's own release will be a second one, an AssertionError
    good.show(2)
    rig.begin()
    bad.wait(0, errors=1)
    good.wait(1)
    assert rig.station.error is None


def test_a_stream_that_says_ready_and_gives_nothing_does_not_spin(rig: StationRig) -> None:
    feed = rig.feed("a")
    calls: list[float] = []

    def lease() -> None:
        calls.append(time.monotonic())

    feed.lease = lease  # type: ignore[method-assign] # an encoder that is behind
    rig.begin()
    feed.show(1)
    time.sleep(0.5)
    assert len(calls) < 100


def test_a_model_that_cannot_be_loaded_is_the_streams_failure(rig: StationRig) -> None:
    good, bad = rig.feed("good"), rig.feed("bad", rungs=("no such model",))
    rig.begin()
    bad.show(1)
    good.show(2)
    good.wait(1)
    bad.wait(0, errors=1)
    assert "no model is called" in str(bad.errors[0])
    assert bad.num_free == (0, 0)


def test_a_device_that_is_lost_ends_the_station(rig: StationRig, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(station: Station, error: Exception) -> None:
        station.error = StageFailed(f"cuda:0 does not answer any more: {error}", stage="upscale")

    def raises(lane: HostLane, batch: Batch, tile: int) -> torch.Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(HostLane, "submit", raises)
    monkeypatch.setattr(Station, "_test_device", lost)
    feed = rig.feed("a")
    rig.begin()
    feed.show(1)
    feed.wait(0, errors=1)
    rig._thread.join(5.0)
    assert not rig._thread.is_alive()
    assert feed.errors == [rig.station.error]


def test_removing_waits_for_the_picture_in_work(rig: StationRig, monkeypatch: pytest.MonkeyPatch) -> None:
    working, go_on = threading.Event(), threading.Event()
    real = LiveChain.run

    def slow(chain: LiveChain, pictures: Sequence[LivePicture], places: Sequence[memoryview]) -> None:
        working.set()
        go_on.wait(10.0)
        real(chain, pictures, places)

    monkeypatch.setattr(LiveChain, "run", slow)
    feed = rig.feed("a")
    rig.begin()
    feed.show(1)
    assert working.wait(10.0)
    threading.Timer(0.2, go_on.set).start()
    rig.station.remove(feed)
    assert feed.numbers() == [1], "delivered before remove returned"
