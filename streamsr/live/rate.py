"""How often something happens, over the last seconds."""

from __future__ import annotations

import time
from collections import deque

WINDOW_S = 4.0
MOST = 2000


class Rate:
    """`note` from one thread, `per_s` from any."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MOST)

    def note(self) -> None:
        """It has happened now."""
        self._times.append(time.monotonic())

    def per_s(self) -> float:
        """Events a second; 0.0 while there are fewer than two in the window."""
        now = time.monotonic()
        recent = [each for each in list(self._times) if each > now - WINDOW_S]
        return (len(recent) - 1) / (now - recent[0]) if len(recent) > 1 else 0.0
