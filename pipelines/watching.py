"""How a running job is seen from outside: frames, speed, what is left, who is slowest."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from streamsr.frames import Packet, Upscaled, VideoInfo
from streamsr.report import Progress, Watcher
from streamsr.runtime.age import process_age_s
from streamsr.runtime.crew import Crew
from streamsr.runtime.memory import tree_memory
from streamsr.runtime.meters import current_meter

INTERVAL_S = 0.25
SPEED_WINDOW_S = 20.0


def estimate_total(info: VideoInfo) -> int | None:
    """Frames to expect: what the header counts, or duration times rate, or None."""
    if info.frames_from_header:
        return info.frames_from_header
    if info.duration_s and info.rate:
        return max(1, math.ceil(info.duration_s * info.rate - 1e-3))
    return None


class Speed:
    """Pictures per second over the last SPEED_WINDOW_S."""

    def __init__(self, frames: int = 0) -> None:
        self._recent = deque([(time.monotonic(), frames)])

    def note(self, frames: int) -> float:
        """The speed, now that so many are done altogether."""
        now = time.monotonic()
        self._recent.append((now, frames))
        while len(self._recent) > 2 and self._recent[0][0] < now - SPEED_WINDOW_S:
            self._recent.popleft()
        since, before = self._recent[0]
        return max(0.0, (frames - before) / max(now - since, 1e-6))


class Ticker:
    """Counts packets on their way to the file and tells the watcher, from a thread of the crew. `notices` gives lines
    of the moment: those at the start are passed on then; what has come since at the end, as counts in them grow."""

    def __init__(
        self, file: str, total: int | None, crew: Crew, watcher: Watcher, notices: Callable[[], Sequence[str]]
    ) -> None:
        self._file, self._total, self._crew, self._watcher = file, total, crew, watcher
        self._notices, self._told = notices, set[str]()
        self._started = time.monotonic()
        self._frames = 0
        self.first_picture_s: float | None = None
        """From the start of the process to the first upscaled picture."""
        self._speed = Speed()

    def noting_first(self, pictures: Iterator[Upscaled]) -> Iterator[Upscaled]:
        """The pictures, unchanged."""
        for picture in pictures:
            if self.first_picture_s is None:
                self.first_picture_s = process_age_s()
            yield picture

    def counting(self, packets: Iterator[Packet]) -> Iterator[Packet]:
        """The packets, unchanged. Starts the reports."""
        self._crew.start(self._report, "progress")
        for packet in packets:
            yield packet
            self._frames += 1

    def finish(self) -> None:
        """The last word, when the crew has ended."""
        self._tell_notices()
        self._watcher.progress(self._now())

    def _report(self) -> None:
        self._tell_notices()
        while True:
            with current_meter().waiting("starved"):
                if self._crew.gate.wait(INTERVAL_S):
                    return
            self._watcher.progress(self._now())

    def _tell_notices(self) -> None:
        for line in self._notices():
            if line not in self._told:
                self._told.add(line)
                self._watcher.notice(line)

    def _now(self) -> Progress:
        now, frames = time.monotonic(), self._frames
        fps = self._speed.note(frames)
        left = None if self._total is None else max(0, self._total - frames)
        return Progress(
            file=self._file,
            frames=frames,
            total=self._total,
            fps=fps,
            eta_s=left / fps if left is not None and fps > 0 else None,
            elapsed_s=now - self._started,
            slowest=self._crew.meters.slowest() or "",
            memory_bytes=tree_memory(),
        )
