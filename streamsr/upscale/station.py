"""Where the live streams of one device have their pictures upscaled: in turn, and together where they are alike.

A stream is a `Feed`. Nothing that one feed does, gives or refuses holds up or ends the others."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from streamsr.errors import StageFailed, StreamSRError
from streamsr.live_frames import LivePicture
from streamsr.models.weights import Network
from streamsr.runtime.gate import Cancelled, Gate
from streamsr.runtime.slots import Slot
from streamsr.upscale.device import DevicePlan
from streamsr.upscale.feed import Feed
from streamsr.upscale.live_chain import Kind, LiveChains, Place, kind_of

IDLE_S = 0.01
"""How soon the station looks again for feeds whose encoder was behind: nobody tells it when slots come back."""
REMOVE_S = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    feed: Feed
    picture: LivePicture
    slot: Slot
    kind: Kind

    def drop(self) -> None:
        self.picture.slot.release()
        self.slot.release()


class Station:
    """`run` is the body of the one thread that uses the device; all else may be called from any thread.

    Notify `ready` when a feed got a picture. `load` gives a network by name, on the station's thread. `notice` receives
    one line when memory, precision or a feed gave way."""

    def __init__(
        self,
        plan: DevicePlan,
        device: torch.device,
        load: Callable[[str], Network],
        gate: Gate,
        notice: Callable[[str], None],
    ) -> None:
        self.device = device
        self.ready = threading.Condition()
        self.busy_s = 0.0
        """Seconds spent at work since the start, for the ladder's share of it."""
        self.error: StageFailed | None = None
        """Why `run` has ended though the gate is open, as a device that does not answer any more; else None."""
        self._gate, self._notice = gate, notice
        self._chains = LiveChains(device, plan.dtype, load, notice)
        self._feeds: list[Feed] = []  # whose turn it is comes first
        self._serving: list[Feed] = []
        self._last_kind: dict[Feed, Kind] = {}
        self._hand: dict[Feed, _Job] = {}  # taken for a batch that it did not fit into: served before others
        self._level = 0
        self._thread: threading.Thread | None = None

    def add(self, feed: Feed) -> None:
        with self.ready:
            self._feeds.append(feed)
            self.ready.notify_all()

    def remove(self, feed: Feed, patience_s: float = REMOVE_S) -> None:
        """Returns when the feed is not called any more, which may take as long as the picture in work does, but after
        `patience_s` seconds at the latest. Does nothing for a feed that is not there."""
        with self.ready:
            if feed in self._feeds:
                self._feeds.remove(feed)
            self._last_kind.pop(feed, None)
            held = self._hand.pop(feed, None)
            if threading.current_thread() is not self._thread:
                self.ready.wait_for(lambda: feed not in self._serving, patience_s)
        if held is not None:
            held.drop()

    def set_level(self, level: int) -> None:
        """All feeds go `level` rungs down from the model they want, as far as they have rungs; from the next picture
        on."""
        self._level = max(0, level)

    def rung_of(self, feed: Feed) -> str:
        """What the feed's pictures are made with now."""
        return feed.rungs[min(self._level, len(feed.rungs) - 1)]

    def run(self) -> None:
        """Upscales until the gate is aborted or the device is lost (see `error`)."""
        self._thread = threading.current_thread()
        try:
            if self.device.type == "cuda":
                torch.cuda.set_device(self.device)
            while not self._gate.aborted and self.error is None:
                jobs, refused = self._gather()
                if jobs:
                    self._work(jobs)
                    self._release(jobs)
                else:
                    self._wait(refused)
        except Exception as error:
            self._end(f"the thread of {self.device} has broken: {type(error).__name__}: {error}", error)
        finally:
            for job in self._hand.values():
                job.drop()
            self._hand.clear()
            self._chains.close()

    def _wait(self, refused: Sequence[Feed]) -> None:
        """Until a feed has something to do. Those that said so and then gave nothing are not asked again at once."""
        with self.ready:
            if not any(self._is_ready(feed) for feed in list(self._feeds) if feed not in refused):
                self.ready.wait(IDLE_S)

    def _gather(self) -> tuple[list[_Job], list[Feed]]:
        """The pictures for the next batch: that of the feed whose turn it is, and those like it of others. And the
        feeds that gave nothing."""
        jobs: list[_Job] = []
        refused: list[Feed] = []
        room = 1
        with self.ready:
            feeds = list(self._feeds)
        for feed in feeds:
            if jobs and self._expected(feed) != jobs[0].kind:
                continue
            job = self._next(feed)
            if job is None:
                refused.append(feed)
            elif not jobs:
                jobs.append(job)
                room = self._room(job)
            elif job.kind == jobs[0].kind:
                jobs.append(job)
            else:
                self._put_back(job)
            if len(jobs) == room:
                break
        return jobs, refused

    def _room(self, job: _Job) -> int:
        """How many pictures like that of `job` go into a batch. What cannot be made is said when it is made."""
        try:
            return self._chains.get(job.kind).batch
        except (StreamSRError, RuntimeError):
            return 1

    def _expected(self, feed: Feed) -> Kind | None:
        """The kind of the next picture, if it is like the last one."""
        held = self._hand.get(feed)
        return held.kind if held is not None else self._last_kind.get(feed)

    def _next(self, feed: Feed) -> _Job | None:
        with self.ready:
            if feed not in self._feeds:
                return None
            held = self._hand.pop(feed, None)
            if held is None and not self._is_ready(feed):
                return None
            self._serving.append(feed)
        job = held or self._take(feed)
        if job is None:
            self._stop_serving([feed])
        return job

    def _take(self, feed: Feed) -> _Job | None:
        slot: Slot | None = None
        try:
            slot = feed.lease()
            picture = feed.take() if slot is not None else None
        except (Exception, Cancelled) as error:
            self._expel(feed, error)
            picture = None
        if slot is None or picture is None:
            if slot is not None:
                slot.release()
            return None
        place = Place(feed.width, feed.height, feed.layout, feed.color, feed.upscale.batch, feed.upscale.tile)
        kind = self._last_kind[feed] = kind_of(self.rung_of(feed), picture.info, place)
        return _Job(feed, picture, slot, kind)

    def _put_back(self, job: _Job) -> None:
        with self.ready:
            is_here = job.feed in self._feeds
            if is_here:
                self._hand[job.feed] = job
        self._stop_serving([job.feed])
        if not is_here:
            job.drop()

    def _work(self, jobs: list[_Job]) -> None:
        started_s = time.monotonic()
        try:
            chain = self._chains.get(jobs[0].kind)
            chain.run([job.picture for job in jobs], [job.slot.memory for job in jobs])
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:  # perhaps only one of them is bad
                    self._work([job])
            else:
                self._give_up(jobs[0], error)
            return
        ended_s = time.monotonic()
        self.busy_s += ended_s - started_s
        for job in jobs:
            try:
                job.picture.slot.release()
                job.feed.deliver(job.picture, job.slot, started_s, ended_s)
            except (Exception, Cancelled) as error:
                self._expel(job.feed, error)

    def _give_up(self, job: _Job, error: Exception) -> None:
        if not isinstance(error, StreamSRError):
            # Not a verdict on the picture: buffers and graphs may be in any state.
            self._chains.drop(job.kind)
            self._test_device(error)
        try:
            job.drop()
            job.feed.failed(self.error or error)
        except (Exception, Cancelled) as second:
            self._expel(job.feed, second)

    def _test_device(self, error: Exception) -> None:
        """A CUDA device may be beyond repair for this process: then every call fails from now on."""
        if self.device.type != "cuda":
            return
        try:
            torch.zeros(1, device=self.device).cpu()
        except RuntimeError:
            self._end(f"{self.device} does not answer any more: {error}", error)

    def _end(self, what: str, error: Exception) -> None:
        self.error = StageFailed(what, stage="upscale", remedy="Start the program again.")
        self.error.__cause__ = error
        self._notice(str(self.error))

    def _is_ready(self, feed: Feed) -> bool:
        try:
            return feed in self._hand or feed.ready()
        except (Exception, Cancelled) as error:
            self._expel(feed, error)
            return False

    def _expel(self, feed: Feed, error: BaseException) -> None:
        """A feed that raises where it must not is not served any more."""
        self._notice(f"{feed.name} is not upscaled any more: {type(error).__name__}: {error}")
        self.remove(feed)
        if isinstance(error, Exception):
            with contextlib.suppress(Exception, Cancelled):
                feed.failed(error)

    def _release(self, jobs: list[_Job]) -> None:
        """Those that were served go to the end of the line."""
        with self.ready:
            for job in jobs:
                if job.feed in self._feeds:
                    self._feeds.remove(job.feed)
                    self._feeds.append(job.feed)
        self._stop_serving([job.feed for job in jobs])

    def _stop_serving(self, feeds: list[Feed]) -> None:
        with self.ready:
            for feed in feeds:
                self._serving.remove(feed)
            self.ready.notify_all()
