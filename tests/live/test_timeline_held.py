"""Where held pictures are placed on the timeline."""

from __future__ import annotations

from streamsr.live.stats import Counters
from streamsr.live.timeline import Timeline


def test_a_picture_that_is_too_late_does_not_put_held_ones_back() -> None:
    now_s = 0.0
    timeline = Timeline(Counters(), lambda: now_s)
    timeline.begin_session(0.0)
    for number in range(25):
        now_s = number / 25
        assert timeline.video(now_s, now_s) is not None
    now_s = 1.0
    assert timeline.video(0.3, now_s) is None
    now_s = 2.0
    held_s = timeline.held()
    assert held_s is not None
    assert held_s > 1.9
