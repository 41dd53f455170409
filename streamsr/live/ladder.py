"""Which rung a device can hold: down to a faster model under overload, up again when there is room."""

from __future__ import annotations

from streamsr.live.stats import Counters

BUSY, IDLE = 0.97, 0.6
"""Share of the time: above BUSY the device does not keep up, below IDLE it may be worth trying more."""
DROPPED = 0.05
"""More than this part of the pictures dropped is overload; a single late one is not."""
SHORT_STAY = 3.0
"""A rung that was left downwards within so many times `up_after_s` was tried too early."""
MOST_PATIENCE = 16.0


class Ladder:
    """Levels 0 (the wanted model) to `num_levels` - 1 (the fastest). One thread.

    Overload has to last for `down_after_s`, room for `up_after_s`, without a break. A rung that could not be held is
    tried again after twice the time, at most MOST_PATIENCE times `up_after_s`."""

    def __init__(
        self,
        num_levels: int,
        counters: Counters | None = None,
        down_after_s: float = 2.0,
        up_after_s: float = 15.0,
    ) -> None:
        assert num_levels >= 1, f"a ladder of {num_levels} rungs"
        self.level = 0
        self.moves = 0
        self.why = ""
        """The reason for the last move, one line; "" before the first."""
        self._lowest, self._counters = num_levels - 1, counters
        self._down_after_s, self._up_after_s = down_after_s, up_after_s
        self._patience = 1.0
        self._overloaded_since: float | None = None
        self._roomy_since: float | None = None
        self._climbed_at: float | None = None

    def observe(self, now_s: float, taken: int, dropped: int, busy: float) -> int:
        """The level from now on. To be called about once a second: `taken` and `dropped` pictures and the share of the
        time that the device was `busy`, since the last call."""
        share = dropped / max(1, taken + dropped)
        is_overloaded = share > DROPPED or busy > BUSY
        has_room = not dropped and busy < IDLE
        self._overloaded_since = _since(self._overloaded_since, now_s, holds=is_overloaded)
        self._roomy_since = _since(self._roomy_since, now_s, holds=has_room)
        if self._climbed_at is not None and now_s - self._climbed_at > SHORT_STAY * self._up_after_s:
            self._climbed_at, self._patience = None, 1.0
        load = f"{share:.0%} of the pictures dropped, device busy {busy:.0%} of the time"
        if self._lasts(self._overloaded_since, now_s, self._down_after_s) and self.level < self._lowest:
            if self._climbed_at is not None:
                self._patience = min(2 * self._patience, MOST_PATIENCE)
                self._climbed_at = None
            self._move(self.level + 1, f"overload: {load}")
        elif self._lasts(self._roomy_since, now_s, self._patience * self._up_after_s) and self.level > 0:
            self._climbed_at = now_s
            self._move(self.level - 1, f"there is room: {load}")
        return self.level

    def _move(self, level: int, why: str) -> None:
        self.level, self.why = level, why
        self.moves += 1
        self._overloaded_since = self._roomy_since = None
        if self._counters is not None:
            self._counters.add("ladder_moves")

    @staticmethod
    def _lasts(since_s: float | None, now_s: float, seconds: float) -> bool:
        return since_s is not None and now_s - since_s >= seconds


def _since(before_s: float | None, now_s: float, *, holds: bool) -> float | None:
    """Since when something holds."""
    if not holds:
        return None
    return now_s if before_s is None else before_s
