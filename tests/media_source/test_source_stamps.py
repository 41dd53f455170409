"""Times are kept to the tick, and repaired where a file's are unusable."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsr.config import SourceConfig
from streamsr.errors import SourceError
from streamsr.media import probe
from streamsr.media.damage import Damage
from streamsr.media.source import open_source
from streamsr.media.stamps import timed
from tests.media import AudioTrack, make_clip, read_number

MS = Fraction(1, 1000)


@dataclass
class Picture:
    pts: int | None
    dts: int | None = None
    duration: int = 0


def stamps(pictures: list[Picture], rate: Fraction | None = Fraction(25)) -> tuple[list[int], list[int], Damage]:
    damage = Damage()
    out = list(timed(cast(Any, pictures), MS, rate, damage))
    assert [cast(Any, item.picture) for item in out] == pictures
    return [item.pts for item in out], [item.duration for item in out], damage


def test_good_stamps_are_untouched() -> None:
    times = [-80, 0, 1, 42, 1000, 60000]
    pts, durations, damage = stamps([Picture(time, duration=7) for time in times])
    assert pts == times
    assert durations == [80, 1, 41, 958, 59000, 59000]  # a last duration of 7 after 59000 is not believed
    assert damage == Damage()


def test_exchanged_neighbours_are_put_right() -> None:
    pts, _, damage = stamps([Picture(time) for time in (0, 33, 67, 50, 83, 100)])
    assert pts == [0, 33, 50, 67, 83, 100]
    assert damage.disordered_stamps == 1


def test_doubles_move_on_by_a_tick() -> None:
    pts, durations, damage = stamps([Picture(time) for time in (0, 40, 40, 80)])
    assert pts == [0, 40, 41, 80]
    assert durations == [40, 1, 39, 39]
    assert damage.disordered_stamps == 1


def test_a_wild_stamp_is_moved_between_its_neighbours() -> None:
    pts, _, damage = stamps([Picture(time) for time in (0, 40, 90000, 120, 160)])
    assert pts == [0, 40, 80, 120, 160]
    assert damage.disordered_stamps == 1


def test_a_clock_that_restarts_goes_on() -> None:
    pts, durations, damage = stamps([Picture(time) for time in (9000, 9040, 9080, 0, 40, 80)])
    assert pts == [9000, 9040, 9080, 9120, 9160, 9200]
    assert set(durations) == {40}
    assert damage.disordered_stamps == 1


def test_missing_stamps_come_from_decoding_order_or_the_rate() -> None:
    pts, durations, damage = stamps([Picture(0), Picture(None, dts=40), Picture(None), Picture(None, dts=3)])
    assert pts == [0, 40, 80, 120]
    assert durations == [40] * 4
    assert damage.missing_stamps == 3


def test_one_picture_without_anything() -> None:
    assert stamps([Picture(None)], rate=None)[:2] == ([0], [0])
    assert stamps([Picture(5, duration=40)], rate=None)[:2] == ([5], [40])


@given(st.lists(st.none() | st.integers(-(10**6), 10**6), max_size=40), st.sampled_from([None, Fraction(25)]))
def test_any_stamps_grow_and_meet(times: list[int | None], rate: Fraction | None) -> None:
    pts, durations, _ = stamps([Picture(time) for time in times], rate)
    assert all(a < b for a, b in pairwise(pts))
    assert all(a + d == b for a, d, b in zip(pts, durations, pts[1:], strict=False))


def test_variable_frame_rate_is_kept_to_the_tick(tmp_path: Path) -> None:
    times = [0, 10, 15, 40, 100, 101, 102, 200, 300, 400, 500, 700]
    clip = make_clip(tmp_path / "vfr.mkv", codec="ffv1", time_base=MS, pts=times)
    with open_source(clip, SourceConfig()) as source:
        frames = list(source.frames())
    assert [frame.stamp.pts * frame.stamp.time_base for frame in frames] == [time * MS for time in times]
    assert [frame.stamp.duration for frame in frames][:-1] == [b - a for a, b in pairwise(times)]


def test_b_frames_and_vfr_in_mp4(tmp_path: Path) -> None:
    times = [0, 100, 150, 400, 1000, 1010, 1020, 2000, 3000, 4000, 5000, 7000]
    clip = make_clip(tmp_path / "vfr.mp4", b_frames=2, time_base=Fraction(1, 12000), pts=times)
    with open_source(clip, SourceConfig()) as source:
        frames = list(source.frames())
    assert [frame.stamp.pts * frame.stamp.time_base for frame in frames] == [Fraction(t, 12000) for t in times]
    assert [read_number(frame.planes[0]) for frame in frames] == list(range(12))


@pytest.mark.parametrize("name", ["a.ts", "a.flv", "a.mp4", "a.mkv"])
def test_time_begins_at_the_origin(tmp_path: Path, name: str) -> None:
    clip = make_clip(tmp_path / name, frames=4, audio=[AudioTrack()], start_s=Fraction(1))
    with open_source(clip, SourceConfig()) as source:
        first = next(source.frames()).stamp
    assert first.time_s == pytest.approx(1.0, abs=0.08)  # behind the sound, as in the file


def test_a_clock_that_starts_anywhere_is_shifted(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.ts", frames=4, start_s=Fraction(5000))
    with open_source(clip, SourceConfig()) as source:
        frames = list(source.frames())
        assert source.origin >= 5000
    assert [frame.stamp.pts for frame in frames] == [0, 3750, 7500, 11250]


class _Container:
    def __init__(self, name: str, start_s: float) -> None:
        self.start_time = round(start_s * 1e6)
        self.format = self
        self.name = name


@pytest.mark.parametrize(
    ("name", "start_s", "origin_s"),
    [
        ("mpegts", 22953.5, 22953.5),
        ("ogg", -0.25, -0.25),
        ("matroska,webm", 5.0, 0),
        ("mov,mp4,m4a,3gp,3g2,mj2", 5.0, 0),
        ("mov,mp4,m4a,3gp,3g2,mj2", 7200.0, 7200.0),
    ],
)
def test_origin_by_container(name: str, start_s: float, origin_s: float) -> None:
    assert probe.origin_of(_Container(name, start_s)) == Fraction(origin_s)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_range_starts_at_its_picture(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name == "a.avi" else "libx264"
    clip = make_clip(tmp_path / name, frames=60, b_frames=0 if name == "a.avi" else 2, gop=15, codec=codec)
    with open_source(clip, SourceConfig(start_s=1.0, duration_s=0.5)) as source:
        frames = list(source.frames())
        assert source.info.duration_s == pytest.approx(0.5, abs=0.01)
        assert source.info.frames_from_header is None
    assert [read_number(frame.planes[0]) for frame in frames] == list(range(24, 36))
    assert frames[0].stamp.index == 0
    assert frames[0].stamp.time_s == pytest.approx(0, abs=1e-3)


def test_a_start_beyond_the_end_is_an_error(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=6)
    with pytest.raises(SourceError, match=r"no picture at or after 9 s: it lasts 0\.25 s"):
        open_source(clip, SourceConfig(start_s=9.0))


class _Stream:
    time_base = MS

    def __init__(self, average: object, guessed: object, frames: int = 0) -> None:
        self.average_rate, self.guessed_rate, self.base_rate = average, guessed, Fraction(90000)
        self.frames = frames


def test_absurd_rates_are_not_believed() -> None:
    assert probe.rate_of(_Stream(Fraction(24), None), []) == 24
    assert probe.rate_of(_Stream(Fraction(1000), Fraction(24000, 1001)), []) == Fraction(24000, 1001)
    assert probe.rate_of(_Stream(None, Fraction(90000)), [0, 40, 80]) == 25
    assert probe.rate_of(_Stream(Fraction(0), None), [0]) is None
    assert probe.rate_of(_Stream(Fraction(240), Fraction(240)), [0, 4, 8, 12]) == 250  # in milliseconds
    assert probe.frames_of(_Stream(None, None, frames=30), Fraction(30), 0.5) is None
    assert probe.frames_of(_Stream(None, None, frames=15), Fraction(30), 0.5) == 15
    assert probe.frames_of(_Stream(None, None), Fraction(30), 0.5) is None
