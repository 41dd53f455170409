"""How many pictures of a stream may wait for the device."""

from __future__ import annotations

BURST = 4
"""A source with B-frames whose server sends by the time of showing brings a group of three of them at once."""
_LEAST_TAKEN = 5
"""In a second. A slower device's share of work cannot be told from so few pictures."""
_SPARE = 0.8
_LOST = 0.2


def room_for(room: int, taken: int, dropped: int, share: float) -> int:
    """The room for the next second, after one in which of this stream `taken` pictures were upscaled and `dropped` were
    not, and the device was at work for `share` of the time. 1: the newest wins.

    Pictures that are lost though the device had time to spare came in a burst: then some more may wait for it. Where
    that does not help the device is too slow, and waiting would only make what is shown older."""
    if room > 1:
        return 1 if dropped > _LOST * (taken + dropped) else room
    has_time = taken >= _LEAST_TAKEN and share * (1 + 1 / taken) < _SPARE  # it may be in the middle of one more
    return BURST if dropped and has_time else 1
