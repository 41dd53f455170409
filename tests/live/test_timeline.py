"""Where pictures and sound belong on the output, when the source's clock, the network and the wall clock misbehave."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsr.live.stats import Counters
from streamsr.live.timeline import Timeline

FRAME_S, SOUND_S = 1 / 24, 1024 / 48000
JITTER_S = 0.08
WRAP_S = 2**33 / 90_000


@dataclass
class Source:
    """Plays a source into a timeline: what is meant for moment t of our clock arrives at t plus some delay."""

    timeline: Timeline = field(init=False)
    counters: Counters = field(default_factory=Counters)
    seed: int = 0
    now_s: float = 5000.0
    jitter_s: float = JITTER_S
    upscale_s: float = 0.1
    """How much later than its arrival a picture is placed."""
    pictures: list[tuple[float, float]] = field(default_factory=list)  # meant for, out
    sounds: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.timeline = Timeline(self.counters, lambda: self.now_s)

    def play(
        self,
        seconds: float,
        stamp: Callable[[float], float] = lambda moment: moment,
        sound_stamp: Callable[[float], float] | None = None,
        *,
        sound: bool = True,
        video: bool = True,
        opens: bool = True,
    ) -> None:
        """`stamp`: the source's time of what is meant for a moment of our clock."""
        begin = self.now_s
        if opens:
            self.timeline.begin_session(begin)
        events = []  # when it is placed, when it has arrived, kind, meant for
        arrived = begin
        sent = [(begin + number * FRAME_S, "video") for number in range(round(seconds / FRAME_S) if video else 0)]
        sent += [(begin + number * SOUND_S, "audio") for number in range(round(seconds / SOUND_S) if sound else 0)]
        for moment, kind in sorted(sent):
            arrived = max(moment + self.random.uniform(0, self.jitter_s), arrived)  # a connection keeps the order
            events.append((arrived + (self.upscale_s if kind == "video" else 0), arrived, kind, moment))
        for placed, arrived, kind, moment in sorted(events):
            self.now_s = max(placed, self.now_s)
            if kind == "video":
                out = self.timeline.video(stamp(moment), arrived)
                self.pictures += [(moment, out)] if out is not None else []
            else:
                out = self.timeline.audio((sound_stamp or stamp)(moment), arrived, SOUND_S)
                self.sounds += [(moment, out)] if out is not None else []

    def offsets(self, since: float = 0.0) -> list[float]:
        """Sound against pictures: by how much later than its picture a sound is placed."""
        pictures = [(moment, out - moment) for moment, out in self.pictures if moment >= since]
        offsets, at = [], 0
        for moment, out in self.sounds:
            while at + 1 < len(pictures) and pictures[at + 1][0] <= moment:
                at += 1
            if moment >= since and abs(pictures[at][0] - moment) < 1:
                offsets.append(out - moment - pictures[at][1])
        return offsets

    def grows(self) -> bool:
        outs = [out for _, out in self.pictures]
        return all(later > earlier for earlier, later in pairwise(outs))


def test_first_picture_is_0_and_sound_before_it_is_not_used() -> None:
    timeline = Timeline(Counters(), lambda: 100.0)
    timeline.begin_session(99.9)
    assert timeline.held() is None
    assert timeline.audio(7.0, 100.0, SOUND_S) is None
    assert timeline.now_s() == 0
    assert timeline.video(7.5, 100.0) == 0.0
    assert timeline.audio(7.5, 100.0, SOUND_S) == 0.0
    assert timeline.audio(7.4, 100.0, SOUND_S) is None, "it would be before the output's begin"
    assert timeline.video(float("nan"), 100.1) is None


def test_picture_and_sound_of_a_session_keep_together() -> None:
    source = Source()
    source.play(60, lambda moment: moment - 4321)
    assert max(map(abs, source.offsets())) < 0.005
    assert source.grows()
    assert source.counters["clock_jumps"] == 0
    assert len(source.pictures) == 60 * 24


def test_equal_times_still_grow() -> None:
    timeline = Timeline(Counters(), lambda: 100.0)
    outs = [timeline.video(number // 2 / 25, 100 + number / 50) for number in range(200)]
    assert None not in outs
    assert all(later > earlier for earlier, later in pairwise(outs))  # type: ignore[operator] # not None


@pytest.mark.parametrize("jump_s", [-100.0, -3.0, 8.0, 3600.0, -WRAP_S])
def test_clock_jump_of_the_source(jump_s: float) -> None:
    """Picture and sound jump at the same moment of the source; on both sides they go on where they were."""
    source = Source()
    begin, jumps_at = source.now_s, source.now_s + 20
    source.play(60, lambda moment: moment + (jump_s if moment >= jumps_at else 0.0) + 100_000)
    assert source.grows()
    assert max(map(abs, source.offsets())) < 0.005
    assert source.counters["clock_jumps"] == (0 if jump_s == -WRAP_S else 1)
    assert all(abs(out - (moment - begin)) < 2 * JITTER_S for moment, out in source.pictures)
    assert len(source.pictures) > 59.5 * 24


def test_one_wrong_stamp_does_no_harm() -> None:
    source = Source()
    begin, wrong_at = source.now_s, source.now_s + 20
    source.play(40, lambda moment: moment + (500.0 if 0 <= moment - wrong_at < FRAME_S / 2 else 0.0))
    assert source.grows()
    assert all(abs(out - (moment - begin)) < 2 * JITTER_S for moment, out in source.pictures)
    assert max(map(abs, source.offsets(begin + 21))) < 0.005


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_another_clock_of_the_sound_over_an_hour(drift: float) -> None:
    source = Source()
    begin = source.now_s
    source.play(3600, lambda moment: moment, lambda moment: begin + (moment - begin) * (1 + drift))
    assert len(source.sounds) > 168_000
    assert max(map(abs, source.offsets())) < 0.040
    assert source.counters["clock_jumps"] == 0
    assert source.timeline.av_offset_ms is not None
    assert abs(source.timeline.av_offset_ms) < 40


def test_another_clock_of_the_source_is_followed() -> None:
    """A camera whose clock runs 100 ppm fast would be a second ahead within three hours."""
    source = Source(jitter_s=0.02)
    begin = source.now_s
    source.play(4 * 3600, lambda moment: begin + (moment - begin) * (1 + 100e-6), sound=False)
    assert source.grows()
    assert all(abs(out - (moment - begin)) < 0.2 for moment, out in source.pictures)
    assert source.counters["clock_jumps"] == 0


def test_twenty_reconnects() -> None:
    """Each with a clock of its own, sound as sometimes late as sometimes early; the output stays at our clock."""
    source = Source()
    begin = source.now_s
    for number in range(20):
        offset = number * 1234.5 - 9000
        session = source.now_s
        source.play(5, lambda moment, offset=offset: moment + offset)  # type: ignore[misc] # a default in a lambda
        assert max(map(abs, source.offsets(session))) < 0.005
        outage_end = source.now_s + 7.3
        while source.now_s < outage_end:
            source.now_s += 0.1
            if source.now_s < outage_end - 6:
                continue
            held = source.timeline.held()
            assert held is not None
            source.pictures.append((source.now_s, held))
            assert abs(held - (source.now_s - begin)) < 0.5
    assert source.grows()
    assert source.counters["clock_jumps"] == 0
    moment, out = source.pictures[-1]
    assert abs(out - (moment - begin)) < 0.5
    assert abs(source.timeline.now_s() - (source.now_s - begin)) < JITTER_S


def test_burst_at_the_begin_of_a_session() -> None:
    """Servers send what they have stored at once: the first session keeps it, a later one goes on at our clock."""
    counters, now = Counters(), 1000.0
    timeline = Timeline(counters, lambda: now)
    for session in range(3):
        timeline.begin_session(now)
        begin = now
        outs = []
        for number in range(240):
            stamp = number / 24
            now = begin + max(0.0, stamp - 2.0)
            outs.append((now, timeline.video(stamp, now), timeline.audio(stamp, now, 1 / 24)))
        assert (None in [video for _, video, _ in outs]) == (session > 0)
        settled = [(video, audio) for _, video, audio in outs[60:]]
        assert all(video == audio for video, audio in settled)
        video, _ = settled[-1]
        assert video is not None
        assert abs(video - timeline.now_s()) < 0.2
        now += 30
    assert counters["clock_jumps"] == 0


def test_source_that_starts_to_be_late_is_taken_as_it_is() -> None:
    """After its time a stall's backlog is of no use; a delay that stays is made the new rule."""
    source = Source(jitter_s=0.0)
    begin = source.now_s
    source.play(10)
    for number in range(30 * 24):  # two seconds late, for ever
        source.now_s = begin + 12 + number / 24
        source.timeline.video(begin + 10 + number / 24, source.now_s)
        source.timeline.audio(begin + 10 + number / 24, source.now_s, 1 / 24)
    assert source.counters["clock_jumps"] == 1
    out = source.timeline.video(begin + 40, source.now_s + 1 / 24)
    assert out is not None
    assert abs(out - source.timeline.now_s()) < 0.2


def test_sound_that_comes_late_by_rule_is_waited_for() -> None:
    """MPEG-TS may carry sound 1.5 s after its picture: that is no reason to put silence in its place."""
    source = Source(jitter_s=0.0)
    begin = source.now_s
    for number in range(20 * 24):
        source.now_s = begin + number / 24
        video = source.timeline.video(number / 24, source.now_s)
        audio = source.timeline.audio(number / 24 - 1.5, source.now_s, 1 / 24)
        assert video is not None
        if number > 1.5 * 24:
            assert audio is not None
            assert audio == pytest.approx(video - 1.5, abs=0.001)
            assert source.timeline.now_s() - 1.0 < audio
    assert source.counters["clock_jumps"] == 0


def test_picture_still_under_way_from_before_a_reconnect_is_left_out() -> None:
    source = Source()
    source.play(5)
    source.timeline.begin_session(source.now_s + 3)
    assert source.timeline.video(source.now_s, source.now_s) is None
    out = source.timeline.video(77.0, source.now_s + 3.1)
    assert out == pytest.approx(source.now_s + 3.1 - 5000, abs=JITTER_S)


def test_slow_source_is_not_overtaken_by_its_held_pictures() -> None:
    """One picture in two seconds, each shown again in between."""
    source = Source(jitter_s=0.0)
    begin, shown = source.now_s, []
    for number in range(30):
        arrived = begin + 2 * number
        source.now_s = arrived + 0.3  # upscaling
        shown.append(source.timeline.video(2.0 * number, arrived))
        while source.now_s < arrived + 2 + 0.2:
            source.now_s += 0.1
            source.timeline.held()
    assert None not in shown
    assert all(abs(out - 2 * number) < 0.15 for number, out in enumerate(shown) if out is not None)


def test_wall_clock_jump_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    timeline = Timeline(Counters())
    start = time.monotonic()
    assert timeline.video(0.0, start) == 0.0
    monkeypatch.setattr(time, "time", lambda: 4_000_000_000.0)
    assert timeline.video(0.04, start + 0.04) == pytest.approx(0.04)
    assert timeline.now_s() < 5
    held = timeline.held()
    assert held is not None
    assert held < 5


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["video", "audio", "held", "open"]),
            st.floats(-1e6, 1e6) | st.floats(0, 2),
            st.floats(0, 3),
            st.floats(0, 1),
        ),
        max_size=120,
    )
)
def test_whatever_comes_pictures_grow_and_stay_near_our_clock(steps: list[tuple[str, float, float, float]]) -> None:
    now, begin = 100.0, None
    timeline = Timeline(Counters(), lambda: now)
    last = None
    for kind, stamp, passed, delay in steps:
        now += passed
        if kind == "open":
            timeline.begin_session(now)
        elif kind == "audio":
            timeline.audio(stamp, now - delay, SOUND_S)
        else:
            out = timeline.held() if kind == "held" else timeline.video(stamp, now - delay)
            if out is not None:
                begin = now if begin is None else begin
                assert last is None or out > last
                assert out <= now - begin + 15, "the output must not run away"
                last = out
