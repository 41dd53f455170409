"""What a device's load means for its streams: how many pictures may wait, and the overload ladder: slower model, faster
model, plain resizing, and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pipelines.live_stream import LiveStream
from streamsr.live.burst import room_for
from streamsr.live.ladder import Ladder
from streamsr.upscale.station import Station

DROPS = ("dropped_newest", "dropped_stale")
INTERVAL_S = 1.0


class Adapter:
    """Gives the streams of one station their room, and moves it between its rungs. `observe` is called often, with the
    streams that run there."""

    def __init__(self, station: Station, notice: Callable[[str], None]) -> None:
        self._station, self._notice = station, notice
        self._ladder = Ladder(1)
        self._num_levels = 1
        self._seen_s, self._busy_s = time.monotonic(), 0.0
        self._counts: dict[str, tuple[int, int]] = {}

    def observe(self, streams: Sequence[LiveStream]) -> None:
        """Looks about once a second at what was taken and dropped since the last time."""
        now, busy_s = time.monotonic(), self._station.busy_s
        if now - self._seen_s < INTERVAL_S:
            return
        share = (busy_s - self._busy_s) / (now - self._seen_s)
        self._seen_s, self._busy_s = now, busy_s
        before, self._counts = self._counts, {}
        taken = dropped = 0
        for stream in streams:
            out, lost = stream.counters["pictures_out"], sum(stream.counters[name] for name in DROPS)
            # A stream that has just begun catches up with what its source had stored.
            out_before, lost_before = before.get(stream.name, (out, lost))
            out_now, lost_now = out - out_before, lost - lost_before
            stream.mailbox.depth = room_for(stream.mailbox.depth, out_now, lost_now, share)
            taken, dropped = taken + out_now, dropped + lost_now
            self._counts[stream.name] = out, lost
        self._fit(max((stream.num_rungs for stream in streams), default=1))
        level = self._ladder.level
        if not taken + dropped:
            return  # sources that are away say nothing of what the device can do
        if self._num_levels > 1 and self._ladder.observe(now, taken, dropped, min(share, 1.0)) != level:
            self._station.set_level(self._ladder.level)
            for stream in streams:
                if stream.num_rungs > 1:
                    stream.counters.add("ladder_moves")
                    self._notice(f"{stream.name}: now {stream.model}; {self._ladder.why}")

    def _fit(self, num_levels: int) -> None:
        """Another ladder when the longest of the streams' ladders has changed; from the top."""
        if num_levels != self._num_levels:
            self._num_levels, self._ladder = num_levels, Ladder(num_levels)
            self._station.set_level(0)
