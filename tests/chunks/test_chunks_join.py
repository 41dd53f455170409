"""Many parts as one film: in order, in little memory, with one sequence of decode times."""

from __future__ import annotations

import itertools
import os
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsr.errors import FrameMismatch, SinkError
from streamsr.frames import Packet
from streamsr.media.join import decode_times, joined, reorder_delay
from streamsr.media.parts import write_part
from tests.media import make_clip
from tests.media_sink.feed import Feed, feed_of


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Feed:
    """Pictures with B-frames."""
    return feed_of(make_clip(tmp_path_factory.mktemp("clip") / "source.mp4", frames=9, b_frames=2))


def cut(feed: Feed, folder: Path, copies: int) -> tuple[list[Path], list[Packet]]:
    """The clip `copies` times over, each in a part of its own."""
    span = 1 + max(packet.pts + packet.duration for packet in feed.packets)
    paths, packets = [], []
    for number in range(copies):
        moved = [replace(packet, pts=packet.pts + number * span) for packet in feed.packets]
        paths.append(folder / f"{number}.part")
        write_part(paths[-1], iter(moved), feed.template)
        packets += moved
    return paths, packets


def test_parts_out_of_order_or_missing_are_refused(feed: Feed, tmp_path: Path) -> None:
    paths, _ = cut(feed, tmp_path, 3)
    for order in ((1, 0, 2), (0, 0)):
        with pytest.raises(FrameMismatch, match=r"\d\.part begins at \d+, before \d\.part ends at"):
            next(joined([paths[number] for number in order]))
    paths[1].unlink()
    with pytest.raises(SinkError, match=r"No such file .*1\.part"):
        next(joined(paths))


def test_very_many_parts_in_few_files_and_little_memory(
    feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # 1000 times two would take long
    short = replace_packets(feed, [replace(packet, data=packet.data + bytes(20_000)) for packet in feed.packets[:3]])
    paths, expected = cut(short, tmp_path, 1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else soft - 10
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 8, hard))
    try:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        count, last = 0, None
        for packet, given_ in zip(joined(paths), expected, strict=True):
            assert (packet.pts, len(packet.data)) == (given_.pts, len(given_.data))
            assert last is None or packet.dts > last
            assert packet.dts <= packet.pts
            count, last = count + 1, packet.dts
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert count == 3000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000, "KiB; the parts have 60 MB"


def replace_packets(feed: Feed, packets: list[Packet]) -> Feed:
    return Feed(feed.path, feed.info, packets)


def test_a_join_that_is_given_up_closes_its_files(feed: Feed, tmp_path: Path) -> None:
    paths, _ = cut(feed, tmp_path, 2)
    packets = joined(paths)
    next(packets)
    next(packets)
    packets.close()  # type: ignore[attr-defined]
    if Path("/proc/self/fd").is_dir():
        links = [
            os.readlink(f"/proc/self/fd/{number}")
            for number in os.listdir("/proc/self/fd")
            if number.isdigit() and os.path.lexists(f"/proc/self/fd/{number}")
        ]
        assert not [link for link in links if link.endswith(".part")]


@st.composite
def films(draw: st.DrawFn) -> list[list[int]]:
    """Parts of a film: each the pts of its pictures in decode order, its earliest first, all later than those of the
    part before it."""
    parts, time = [], draw(st.integers(-1000, 1000))
    for _ in range(draw(st.integers(1, 5))):
        shown = []
        for _ in range(draw(st.integers(1, 12))):
            shown.append(time)
            time += draw(st.integers(1, 500))
        parts.append([shown[0], *draw(st.permutations(shown[1:]))])
    return parts


@given(parts=films())
def test_decode_times_are_as_late_as_they_may_be(parts: list[list[int]]) -> None:
    pts = list(itertools.chain.from_iterable(parts))
    delay = max(reorder_delay(np.array(part)) for part in parts)
    assert delay == reorder_delay(np.array(pts)), "the parts are looked at one by one"
    dts = list(itertools.islice(decode_times(iter(sorted(pts)), delay), len(pts)))
    assert len(dts) == len(pts)
    assert all(early < late for early, late in itertools.pairwise(dts))
    assert all(decoded <= shown for decoded, shown in zip(dts, pts, strict=True))
    if delay:
        fewer = list(itertools.islice(decode_times(iter(sorted(pts)), delay - 1), len(pts)))
        assert any(decoded > shown for decoded, shown in zip(fewer, pts, strict=True))
    else:
        assert dts == pts


def test_decode_times_of_usual_films() -> None:
    assert list(itertools.islice(decode_times(iter([0, 1, 2, 3]), 0), 4)) == [0, 1, 2, 3]
    # I0 P3 B1 B2 P6 B4 B5, ten ticks a picture: one picture is decoded before the one that is shown first
    pts = np.array([0, 30, 10, 20, 60, 40, 50])
    assert reorder_delay(pts) == 1
    assert list(itertools.islice(decode_times(iter(np.sort(pts).tolist()), 1), 7)) == [-10, 0, 10, 20, 30, 40, 50]
    assert reorder_delay(np.array([0, 40, 20, 10, 30])) == 2
