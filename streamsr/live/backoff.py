"""How long to wait before the next try: longer each time, and never in step with others."""

from __future__ import annotations

import random


class Backoff:
    """Doubles from `first_s` to `most_s`. `jitter`: each wait is longer or shorter by up to this part of itself, so
    that all cameras of a switch that was restarted do not come back at the same moment. Not thread-safe."""

    def __init__(
        self, first_s: float = 1.0, most_s: float = 30.0, jitter: float = 0.25, rng: random.Random | None = None
    ) -> None:
        assert 0 < first_s <= most_s, f"back-off from {first_s} to {most_s} s"
        assert 0 <= jitter < 1, f"jitter {jitter}"
        self._first_s, self._most_s, self._jitter = first_s, most_s, jitter
        self._rng = rng or random.Random()
        self._base_s = first_s

    def next_s(self) -> float:
        """Seconds to wait now; never more than `most_s`."""
        wait_s = self._base_s * (1 + self._jitter * self._rng.uniform(-1, 1))
        self._base_s = min(2 * self._base_s, self._most_s)
        return min(wait_s, self._most_s)

    def reset(self) -> None:
        """It worked: the next wait is a short one again."""
        self._base_s = self._first_s
