"""The station: right pictures for each stream, together where they are alike."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch

from streamsr.frames import Orientation
from streamsr.live_frames import LivePicture
from streamsr.models.weights import load_network
from streamsr.upscale.chain import Chain, Look
from streamsr.upscale.live_chain import MOST_KEPT, LiveChain
from streamsr.upscale.pixels import from_rgb, resized, to_rgb
from streamsr.upscale.target import Target
from tests.live.feeds import CPU, INFO, LAYOUT, TAGS, StationRig, sized, station_rig
from tests.media import draw_planes, read_number


@pytest.fixture
def rig() -> Iterator[StationRig]:
    with station_rig() as made:
        yield made


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all batches."""
    sizes: list[int] = []
    real = LiveChain.run

    def run(chain: LiveChain, pictures: Sequence[LivePicture], places: Sequence[memoryview]) -> None:
        sizes.append(len(pictures))
        real(chain, pictures, places)

    monkeypatch.setattr(LiveChain, "run", run)
    return sizes


def by_hand(number: int, target: Target) -> tuple[np.ndarray, ...]:
    """What the chain of files makes of a picture."""
    chain = Chain(load_network("lite"), Look(LAYOUT, TAGS, LAYOUT, TAGS), target, CPU, torch.float32)
    planes = draw_planes(number, LAYOUT, INFO.width, INFO.height)
    results, _ = chain(tuple(torch.from_numpy(plane)[None] for plane in planes), 0)
    return tuple(result[0].numpy() for result in results)


def test_every_picture_in_order_and_as_files_have_it(rig: StationRig) -> None:
    feed = rig.feed("a")
    rig.begin()
    for number in range(12):
        feed.show(number)
    feed.wait(12)
    assert feed.numbers() == list(range(12))
    assert [number for number, _ in feed.results] == list(range(12))
    for made, wanted in zip(feed.results[5][1], by_hand(5, Target(128, 96, Fraction(1), 4)), strict=True):
        assert np.array_equal(made, wanted)
    assert all(started < ended for started, ended in feed.moments)
    assert 0 < rig.station.busy_s < 30
    assert feed.num_free == (0, 0)


def test_streams_that_are_alike_share_batches(rig: StationRig, batches: list[int]) -> None:
    feeds = [rig.feed(f"stream {number}") for number in range(3)]
    other = rig.feed("other", size=(96, 72))
    for number in range(6):
        for place, feed in enumerate((*feeds, other)):
            feed.show(10 * place + number)
    rig.begin()
    for place, feed in enumerate((*feeds, other)):
        feed.wait(6)
        assert feed.numbers() == [10 * place + number for number in range(6)]
        assert feed.num_free == (0, 0)
    assert batches.count(3) >= 4
    assert sum(batches) == 24
    for made, wanted in zip(feeds[1].results[4][1], by_hand(14, Target(128, 96, Fraction(1), 4)), strict=True):
        assert np.array_equal(made, wanted), "a batch changes nothing"


def test_turns_are_fair(rig: StationRig) -> None:
    """Two streams that always have something, of different sizes: neither waits for the other's end."""
    order: list[str] = []
    feeds = [rig.feed("a"), rig.feed("b", size=(96, 72)), rig.feed("c", size=(64, 48))]
    for feed in feeds:
        real = feed.take

        def take(name: str = feed.name, real: object = real) -> LivePicture | None:
            order.append(name)
            return real()  # type: ignore[operator,no-any-return] # the feed's own

        feed.take = take  # type: ignore[method-assign] # to watch it
        for number in range(5):
            feed.show(number)
    rig.begin()
    for feed in feeds:
        feed.wait(5)
    assert "".join(order) == "abc" * 5


@pytest.mark.parametrize(
    ("size", "aspect", "orientation", "inner"),
    [
        ((32, 24), Fraction(1), Orientation(), (128, 96, 20, 0)),  # 4:3 into 7:4, bars left and right
        ((48, 24), Fraction(1), Orientation(), (168, 84, 0, 6)),  # wider: above and below
        ((24, 24), Fraction(4, 3), Orientation(), (128, 96, 20, 0)),  # 4:3 by its samples
        ((24, 32), Fraction(1), Orientation(90), (128, 96, 20, 0)),  # stored upright, shown 4:3
        ((42, 24), Fraction(1), Orientation(), (168, 96, 0, 0)),
    ],
)
def test_other_shapes_get_black_bars(
    rig: StationRig,
    size: tuple[int, int],
    aspect: Fraction,
    orientation: Orientation,
    inner: tuple[int, int, int, int],
) -> None:
    feed = rig.feed("a", size=(168, 96))
    rig.begin()
    feed.show(33, sized(*size, sample_aspect=aspect, orientation=orientation))
    feed.wait(1)
    width, height, left, top = inner
    _, planes = feed.results[0]
    for plane, black, step in zip(planes, (16, 128, 128), (1, 2, 2), strict=True):
        bars = plane.copy()
        middle = bars[top // step : (top + height) // step, left // step : (left + width) // step]
        if step == 1:
            assert middle.std() > 30
        middle[:] = black
        assert np.all(bars == black)


def test_the_size_may_change_at_any_picture(rig: StationRig) -> None:
    feed = rig.feed("a")
    sizes = [(32, 24), (32, 24), (64, 48), (16, 12), (40, 24), (35, 27), (32, 24), (128, 96), (160, 120)]
    rig.begin()
    for number, size in enumerate(sizes):
        feed.show(number, sized(*size))
    feed.wait(len(sizes))
    crops = [planes[0][9:87] if sizes[number] == (40, 24) else planes[0] for number, planes in feed.results]
    del crops[4:6]  # with bars the number is not where it is looked for
    assert [read_number(crop) for crop in crops] == [0, 1, 2, 3, 6, 7, 8]
    assert feed.num_free == (0, 0)


def test_only_the_last_chains_are_kept(rig: StationRig, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    real = LiveChain.close

    def close(chain: LiveChain) -> None:
        closed.append(chain.kind.width)
        real(chain)

    monkeypatch.setattr(LiveChain, "close", close)
    feed = rig.feed("a")
    rig.begin()
    for number in range(MOST_KEPT + 2):
        feed.show(number, sized(32 + 4 * number, 24 + 3 * number))
    feed.wait(MOST_KEPT + 2)
    assert closed == [32, 36]


def test_levels_and_plain_resizing(rig: StationRig) -> None:
    feed = rig.feed("a", rungs=("lite", "resize"))
    fixed = rig.feed("b")
    rig.begin()
    for level, number in ((0, 1), (1, 2), (7, 3), (0, 4)):
        rig.station.set_level(level)
        assert rig.station.rung_of(feed) == ("resize" if level else "lite")
        assert rig.station.rung_of(fixed) == "lite"
        feed.show(number)
        feed.wait(number)
    assert feed.numbers() == [1, 2, 3, 4]
    drawn = tuple(torch.from_numpy(plane)[None] for plane in draw_planes(2, LAYOUT, INFO.width, INFO.height))
    wanted = from_rgb(resized(to_rgb(drawn, LAYOUT, TAGS), 96, 128), LAYOUT, TAGS)
    for made, plane in zip(feed.results[1][1], wanted, strict=True):
        assert np.array_equal(made, plane[0].numpy())


def test_under_overload_the_newest_picture_is_taken(rig: StationRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many pictures as can be made: what is taken is always the last one that was shown."""
    shown, newest = [-1], list[int]()
    real = LiveChain.run

    def slow(chain: LiveChain, pictures: Sequence[LivePicture], places: Sequence[memoryview]) -> None:
        time.sleep(0.04)
        real(chain, pictures, places)

    monkeypatch.setattr(LiveChain, "run", slow)
    feed = rig.feed("a", depth=1, policy="newest-wins")
    real_take = feed.take

    def take() -> LivePicture | None:
        newest.append(shown[-1])
        return real_take()

    feed.take = take  # type: ignore[method-assign] # to watch it
    rig.begin()
    for number in range(60):
        shown.append(number)
        feed.show(number)
        time.sleep(0.02)
    feed.wait(60 - feed.counters["dropped_newest"])
    numbers = feed.numbers()
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 59
    assert all(abs(last - number) <= 1 for number, last in zip(numbers, newest, strict=True))
    assert len(numbers) + feed.counters["dropped_newest"] == 60
    assert feed.counters["dropped_newest"] > 10


def test_a_feed_can_come_and_go(rig: StationRig) -> None:
    first, second = rig.feed("first"), rig.feed("second")
    rig.begin()
    first.show(1)
    first.wait(1)
    rig.station.remove(first)
    rig.station.remove(first)
    first.show(2)
    second.show(3)
    second.wait(1)
    assert first.numbers() == [1]
    rig.station.add(first)
    first.wait(2)
    assert first.numbers() == [1, 2]


@pytest.mark.gpu
def test_on_a_card_batches_give_the_same_pictures(batches: list[int]) -> None:
    with station_rig(torch.device("cuda", 0), torch.float16) as rig:
        feeds = [rig.feed(f"stream {number}", rungs=("lite", "resize")) for number in range(3)]
        for number in range(8):
            for place, feed in enumerate(feeds):
                feed.show(10 * place + number)
        rig.begin()
        for place, feed in enumerate(feeds):
            feed.wait(8)
            assert feed.numbers() == [10 * place + number for number in range(8)]
        assert max(batches) == 3
        wanted = by_hand(14, Target(128, 96, Fraction(1), 4))
        assert np.abs(feeds[1].results[4][1][0].astype(int) - wanted[0]).max() <= 3
        rig.station.set_level(1)
        feeds[0].show(20)
        feeds[0].wait(9)
        assert feeds[0].numbers()[-1] == 20
