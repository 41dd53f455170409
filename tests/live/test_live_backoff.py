from __future__ import annotations

import random

from streamsr.live.backoff import Backoff


def test_waits_double_up_to_the_most() -> None:
    backoff = Backoff(1.0, 30.0, jitter=0.0)
    assert [backoff.next_s() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.next_s() == 1


def test_jitter_keeps_clients_apart_and_within_bounds() -> None:
    waits = [Backoff(2.0, 30.0, 0.25, random.Random(seed)).next_s() for seed in range(200)]
    assert 1.5 <= min(waits) < 1.6
    assert 2.4 < max(waits) <= 2.5
    late = Backoff(30.0, 30.0, 0.25, random.Random(1))
    assert max(late.next_s() for _ in range(50)) <= 30.0
