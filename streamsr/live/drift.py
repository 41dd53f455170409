"""How the clock of the sound runs against that of the pictures, and both against ours, measured by what arrives.

The network only ever adds delay, so that of many packets the less delayed ones tell how a clock stands. Not the very
least: on a connection that keeps the order it is chance whether one is hardly delayed."""

from __future__ import annotations

from typing import Literal

Kind = Literal["video", "audio"]

_BLOCK_S = 10.0
_LONGEST_BLOCK_S = 100.0
_ENOUGH = 20
"""Packets of a kind in a block: with fewer chance would be too strong."""
_QUANTILE = 0.75
_STEP_S, _MANY = 0.03, 60
"""A larger surprise is no drift: the source has corrected itself, or the network has changed. Of so many packets."""
_MOST_DRIFT = 500e-6
"""A clock does not run worse than this."""
_FOLLOW, _FOLLOW_SLOPE = 0.15, 0.006
"""How much of a block's surprise is believed, for the drift so far and for its slope: jitter of the network is larger
than the drift of a block, but does not go on. At first more, as little is known: what a straight line would say."""
_BEGIN_AT = 3
"""As if so many blocks had been measured before: two alone would say too much."""
_LEVEL_S = 0.1
"""So far the output may be from the time of arrival without being moved: a steady timeline is worth more."""


class Drift:
    """Of one session of the source. `note` is told of every packet; times are seconds.

    `skew_s` is to be added to all times of audio, `shift_s` to those of audio and video. Both move slowly."""

    def __init__(self) -> None:
        self.skew_s = 0.0
        self.shift_s = 0.0
        self._wanted_shift_s = 0.0
        self._drift_s = self._slope = 0.0  # by how much audio has run ahead of video, and does so by the second
        self._num_blocks = _BEGIN_AT
        self._zero_s: float | None = None  # audio's usual lead over video
        self._measured_s: float | None = None  # as _drift_s, by the last block alone
        self._moved_s: float | None = None  # when skew and shift were last moved
        self._since_s: float | None = None
        self._begin_block()

    @property
    def error_s(self) -> float | None:
        """By how much audio is late against video after the correction, as measured; None before a measurement."""
        return None if self._measured_s is None else self._measured_s + self.skew_s

    def note(self, kind: Kind, early_s: float, arrived_s: float) -> None:
        """`early_s`: by how much the packet's time on the output, without skew and shift, is before its arrival."""
        if self._since_s is None:
            self._since_s = arrived_s
        self._early[kind].append(early_s)
        length_s = arrived_s - self._since_s
        enough = min(map(len, self._early.values())) >= _ENOUGH
        if (length_s >= _BLOCK_S and enough) or length_s >= _LONGEST_BLOCK_S:
            self._end_block(length_s)
            self._begin_block()
            self._since_s = arrived_s
        self._move(arrived_s)

    def _begin_block(self) -> None:
        self._early: dict[Kind, list[float]] = {"video": [], "audio": []}

    def _end_block(self, length_s: float) -> None:
        video, audio = self._early["video"], self._early["audio"]
        level_s = _level(video or audio)
        self._wanted_shift_s = min(max(self._wanted_shift_s, -_LEVEL_S - level_s), _LEVEL_S - level_s)
        if not video or not audio:
            self._zero_s = self._measured_s = None
            return
        apart_s = _level(audio) - _level(video)
        if self._zero_s is None:
            self._zero_s = apart_s - self._drift_s
        expected_s = self._drift_s + self._slope * length_s
        surprise_s = apart_s - self._zero_s - expected_s
        if abs(surprise_s) > _STEP_S * max(1.0, _MANY / min(len(video), len(audio))):
            self._zero_s += surprise_s
            surprise_s = 0.0
        self._measured_s = expected_s + surprise_s
        self._num_blocks += 1
        area = self._num_blocks * (self._num_blocks + 1)
        follow, follow_slope = max(_FOLLOW, (4 * self._num_blocks - 2) / area), max(_FOLLOW_SLOPE, 6 / area)
        self._drift_s = expected_s + follow * surprise_s
        self._slope = _within(self._slope + follow_slope * surprise_s / length_s, _MOST_DRIFT)

    def _move(self, arrived_s: float) -> None:
        passed_s = 0.0 if self._moved_s is None else min(max(arrived_s - self._moved_s, 0.0), 1.0)
        self._moved_s = arrived_s if self._moved_s is None else max(arrived_s, self._moved_s)
        self.skew_s += _within(-self._drift_s - self.skew_s, 2 * _MOST_DRIFT * passed_s)
        self.shift_s += _within(self._wanted_shift_s - self.shift_s, _MOST_DRIFT * passed_s)


def _level(early: list[float]) -> float:
    return sorted(early)[int(_QUANTILE * (len(early) - 1))]


def _within(value: float, most: float) -> float:
    return min(max(value, -most), most)
