"""Bursts are waited for where there is time for them, and overload is not."""

from __future__ import annotations

import pytest

from streamsr.live.burst import BURST, room_for


@pytest.mark.parametrize(
    ("room", "taken", "dropped", "share", "after"),
    [
        (1, 12, 12, 0.5, BURST),  # half of a burst is lost while the device is idle half of the time
        (BURST, 24, 0, 0.95, BURST),  # and then it has all of them to do
        (1, 24, 0, 0.3, 1),  # nothing is lost
        (1, 12, 12, 0.99, 1),  # twice as much as it can do
        (BURST, 13, 11, 0.97, 1),  # the same, from one second to the next
        (1, 2, 20, 0.6, 1),  # a slow network: the third picture is in work
        (1, 0, 24, 0.0, 1),
        (BURST, 0, 0, 0.0, BURST),  # the source is away
    ],
)
def test_room(room: int, taken: int, dropped: int, share: float, after: int) -> None:
    assert room_for(room, taken, dropped, share) == after
