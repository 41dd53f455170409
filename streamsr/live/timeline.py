"""The output's timeline: where the source's pictures and sound belong on it, whatever the source's clock does.

Audio and video of a source share its clock, so they share the offset to the output: that keeps them together. Times of
arrival, by our own steady clock, say whether the source's clock is to be believed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from streamsr.live.drift import Drift, Kind
from streamsr.live.stats import Counters

_BACK_S = 1.0
"""A clock that goes back by more has been set anew."""
_AHEAD_S = 0.5
"""A packet that arrives so long before its time comes from a clock that has been set anew."""
_LATE_FOR_S = 3.0
"""When everything has been late by more than _BACK_S for so long, it will not catch up."""
_FIRST_LATE_S, _FIRST_AHEAD_S = 5.0, 10.0
"""So far audio and video may be apart when they begin, and still be of one clock."""
_SETTLE_S = 3.0
"""So long after its begin a session may still be found to arrive earlier: servers begin with what they have stored."""
_BURST_S = 0.15
"""What arrives earlier by less is jitter of the network."""
_WRAPS_S = (2**33 / 90_000, 2**32 / 90_000, 2**32 / 1000)
"""Where clocks of MPEG-TS, RTP and RTMP begin again."""
_STEP_S = 0.001
"""The least time between two pictures."""
_NUDGE_S = 0.1
"""A picture that is late by no more follows the last one at once; an older one is of no use."""
_OF_BEFORE_S = 0.25
"""What arrived so long before a session was opened is from the session before, still under way."""
_STEADY_S = 0.3
"""A clock that was set anew goes on with the next picture, if the arrival agrees so far."""
_USUAL_LATE_S = 0.5
"""Sound may come so late without being waited for."""


@dataclass(slots=True, eq=False)
class _Clock:
    """A run of the source's clock: output time = source's time + offset_s."""

    offset_s: float
    late_since_s: float | None = None


@dataclass(slots=True, eq=False)
class _Track:
    """What is known of the last packet of a kind."""

    kind: Kind
    clock: _Clock | None = None
    time_s: float = 0.0
    out_s: float = 0.0
    late_s: float = 0.0
    interval_s: float = 0.0


class Timeline:
    """Thread-safe. `clock` is ours: it never jumps. All times are seconds; `arrived_s` is of the same clock."""

    def __init__(self, counters: Counters, clock: Callable[[], float] = time.monotonic) -> None:
        self._counters, self._clock = counters, clock
        self._lock = threading.Lock()
        self._base_s: float | None = None  # by our clock, where the output is 0
        self._last_s: float | None = None  # the last picture's time on the output
        self._behind_s = 0.0  # how far behind now a picture is when it is ready
        self._sound_late_s = 0.0
        self._num_sessions = 0
        self._begin(float("-inf"))

    def begin_session(self, arrived_s: float) -> None:
        """The source has been opened (again): its clock may be another one."""
        with self._lock:
            self._num_sessions += 1
            self._begin(arrived_s)

    def video(self, time_s: float, arrived_s: float) -> float | None:
        """The output's time of a picture, strictly growing, 0.0 for the first of all; None: it comes too late."""
        with self._lock:
            if not math.isfinite(time_s) or self._is_of_before(arrived_s):
                return None
            if self._base_s is None:
                self._base_s = arrived_s
                self._clocks.append(_Clock(-time_s))
            out_s = self._place(self._video, time_s, arrived_s, 0.0)
            if self._last_s is not None and out_s < self._last_s - _NUDGE_S:
                return None
            behind_s = min(max(self._now_s() - out_s, 0.0), _FIRST_LATE_S)
            self._behind_s = max(behind_s, 0.95 * self._behind_s + 0.05 * behind_s)
            if self._last_s is not None:
                out_s = max(out_s, self._last_s + _STEP_S)
            self._last_s = out_s
            return out_s

    def audio(self, time_s: float, arrived_s: float, duration_s: float) -> float | None:
        """The output's time of a packet of sound; None before the first picture, and where it comes too late."""
        with self._lock:
            if not math.isfinite(time_s) or self._base_s is None or self._is_of_before(arrived_s):
                return None
            self._audio.interval_s = duration_s
            out_s = self._place(self._audio, time_s + self._drift.skew_s, arrived_s, self._drift.skew_s)
            late_s = min(arrived_s - self._base_s - out_s, _FIRST_LATE_S)
            self._sound_late_s = max(late_s, 0.995 * self._sound_late_s)
            return out_s if out_s >= 0 else None

    def held(self) -> float | None:
        """Where the last picture is to be shown again now: after it, and where a new one would be; None without one."""
        with self._lock:
            if self._last_s is None:
                return None
            self._last_s = max(self._now_s() - self._behind_s, self._last_s + _STEP_S)
            return self._last_s

    def now_s(self) -> float:
        """The output's time now; less where the source's sound usually comes later than its pictures, so that silence
        is not put where sound will be. 0 before the first picture."""
        with self._lock:
            return self._now_s() - max(self._sound_late_s - _USUAL_LATE_S, 0.0)

    @property
    def av_offset_ms(self) -> float | None:
        """By how much sound is late (negative: early) against the pictures, by their clocks, as measured."""
        with self._lock:
            error_s = self._drift.error_s
            return None if error_s is None else 1000 * error_s

    def _begin(self, arrived_s: float) -> None:
        self._opened_s = arrived_s
        self._settle_until_s: float | None = None
        self._drift = Drift()
        self._clocks: list[_Clock] = []  # the newest last
        self._video, self._audio = _Track("video"), _Track("audio")

    def _now_s(self) -> float:
        return 0.0 if self._base_s is None else self._clock() - self._base_s

    def _is_of_before(self, arrived_s: float) -> bool:
        return self._num_sessions > 1 and arrived_s < self._opened_s - _OF_BEFORE_S

    def _place(self, track: _Track, time_s: float, arrived_s: float, skew_s: float) -> float:
        """The output's time of a packet; `time_s` is the source's, already with `skew_s`."""
        assert self._base_s is not None
        if self._settle_until_s is None:
            self._settle_until_s = arrived_s + _SETTLE_S
        clock = self._clock_for(track, time_s, arrived_s)
        settles = arrived_s < self._settle_until_s
        if settles:
            self._settle(clock, self._early_s(clock, time_s, arrived_s))
        else:
            self._drift.note(track.kind, time_s - skew_s + clock.offset_s - (arrived_s - self._base_s), arrived_s)
        early_s = self._early_s(clock, time_s, arrived_s)
        if early_s >= -_BACK_S:
            clock.late_since_s = None
        elif clock.late_since_s is None:
            clock.late_since_s = arrived_s
        if track.kind == "video" and 0 < time_s - track.time_s < _BACK_S:
            track.interval_s = time_s - track.time_s
        track.clock, track.time_s, track.late_s = clock, time_s, max(-early_s, 0.0)
        track.out_s = time_s + clock.offset_s + self._drift.shift_s
        return track.out_s

    def _early_s(self, clock: _Clock, time_s: float, arrived_s: float) -> float:
        """By how much the packet arrives before its time on the output; usually it is a little late."""
        assert self._base_s is not None
        return time_s + clock.offset_s + self._drift.shift_s - (arrived_s - self._base_s)

    def _settle(self, clock: _Clock, early_s: float) -> None:
        """A session that begins with a burst of old packets: what is live is what comes at last. The first session
        keeps them all, as nothing has been shown yet; later ones give up the oldest and go on at the time of day."""
        assert self._base_s is not None
        if early_s > _BURST_S and self._num_sessions <= 1:
            self._base_s -= early_s
        elif early_s > _BURST_S:
            clock.offset_s -= early_s

    def _clock_for(self, track: _Track, time_s: float, arrived_s: float) -> _Clock:
        """The run of the source's clock that `time_s` belongs to; a new one if it fits none."""
        assert self._base_s is not None
        settles = self._settle_until_s is None or arrived_s < self._settle_until_s
        most_early_s, most_late_s = _FIRST_AHEAD_S if settles else _AHEAD_S, _FIRST_LATE_S
        own, wall_s = track.clock, arrived_s - self._base_s
        if own is not None:
            stays_late = own.late_since_s is not None and arrived_s - own.late_since_s > _LATE_FOR_S
            goes_on = time_s > track.time_s - _BACK_S and self._early_s(own, time_s, arrived_s) <= most_early_s
            if goes_on and not stays_late:
                return own
            most_early_s, most_late_s = _AHEAD_S, _BACK_S if stays_late else _FIRST_LATE_S
        early = {clock: self._early_s(clock, time_s, arrived_s) for clock in self._clocks if clock is not own}
        others = [clock for clock, early_s in early.items() if -most_late_s <= early_s <= most_early_s]
        if others:
            return min(others, key=lambda clock: abs(early[clock]))
        if own is None or stays_late:
            return self._new_clock(time_s, wall_s)
        for wrap_s in _WRAPS_S:
            out_s = time_s + wrap_s + own.offset_s
            if -_BACK_S <= out_s + self._drift.shift_s - wall_s <= _AHEAD_S:
                return self._new_clock(time_s, out_s + self._drift.shift_s, is_jump=False)
        next_s, arrives_at_s = track.out_s + track.interval_s, wall_s - track.late_s
        return self._new_clock(time_s, next_s if abs(next_s - arrives_at_s) <= _STEADY_S else wall_s)

    def _new_clock(self, time_s: float, out_s: float, is_jump: bool = True) -> _Clock:
        """From now on the source's `time_s` is `out_s`. Older runs stay known for what is still under way in them."""
        if self._clocks and is_jump:
            self._counters.add("clock_jumps")
        clock = _Clock(out_s - time_s - self._drift.shift_s)
        self._clocks = [*self._clocks[-3:], clock]
        return clock
