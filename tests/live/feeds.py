"""Feeds for tests of the station: numbered pictures in, planes out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np
import torch

from streamsr.config import UpscaleConfig
from streamsr.frames import ColorTags, PixelLayout
from streamsr.live.mailbox import Mailbox
from streamsr.live.stats import Counters
from streamsr.live_frames import LiveInfo, LivePicture
from streamsr.models.weights import Network, load_network
from streamsr.runtime.gate import Cancelled, Gate
from streamsr.runtime.slots import Slot, SlotRing
from streamsr.upscale.device import DevicePlan
from streamsr.upscale.station import Station
from tests.media import draw_planes, read_number

CPU = torch.device("cpu")
TAGS = ColorTags(matrix=1, chroma_location=1)
LAYOUT = PixelLayout()
INFO = LiveInfo(0, "test", "raw", 32, 24, LAYOUT, TAGS, Fraction(24))
WAIT_S = 30.0


class NumberFeed:
    """Keeps all results. Slots of pictures are small and many, as an ingest's."""

    def __init__(
        self,
        name: str,
        station: Station,
        *,
        rungs: tuple[str, ...] = ("lite",),
        size: tuple[int, int] = (128, 96),
        depth: int = 64,
        num_slots: int = 4,
        policy: Literal["newest-wins", "wait"] = "wait",
    ) -> None:
        self.name, self.rungs = name, rungs
        self.upscale = UpscaleConfig()
        self.width, self.height = size
        self.layout, self.color = LAYOUT, TAGS
        self.counters = Counters()
        self.results: list[tuple[int, tuple[np.ndarray, ...]]] = []
        self.moments: list[tuple[float, float]] = []
        self.errors: list[Exception] = []
        self.slots = SlotRing(num_slots, LAYOUT.num_bytes(*size))
        self._station, self._gate = station, Gate()
        self._inputs = SlotRing(depth + 8, LAYOUT.num_bytes(160, 120))
        self.mailbox = Mailbox(policy, 1e9, self.counters, station.ready, depth)
        self._changed = threading.Condition()

    def show(self, number: int, info: LiveInfo = INFO) -> None:
        slot = self._inputs.lease(self._gate, WAIT_S)
        for place, plane in zip(
            info.layout.planes_of(slot.memory, info.width, info.height),
            draw_planes(number, info.layout, info.width, info.height),
            strict=True,
        ):
            place[:] = plane
        now = time.monotonic()
        self.mailbox.put(LivePicture(slot, info, number / 24, now, now), self._gate)

    def ready(self) -> bool:
        return len(self.mailbox) > 0 and self.slots.num_free > 0

    def take(self) -> LivePicture | None:
        return self.mailbox.take(time.monotonic())

    def lease(self) -> Slot | None:
        return self.slots.lease(self._gate, 0.0) if self.slots.num_free else None

    def deliver(self, picture: LivePicture, slot: Slot, started_s: float, ended_s: float) -> None:
        planes = tuple(plane.copy() for plane in self.layout.planes_of(slot.memory, self.width, self.height))
        slot.release()
        with self._changed:
            self.results.append((round(picture.time_s * 24), planes))
            self.moments.append((started_s, ended_s))
            self._changed.notify_all()

    def failed(self, error: Exception) -> None:
        with self._changed:
            self.errors.append(error)
            self._changed.notify_all()

    def wait(self, results: int, errors: int = 0) -> None:
        def is_there() -> bool:
            return len(self.results) >= results and len(self.errors) >= errors

        with self._changed:
            assert self._changed.wait_for(is_there, WAIT_S), f"{self.name}: {self.numbers()}, {self.errors}"

    def numbers(self) -> list[int]:
        """As they are drawn into the results."""
        return [read_number(planes[0]) for _, planes in self.results]

    @property
    def num_free(self) -> tuple[int, int]:
        """Of the slots for results and for pictures: of each all but those that somebody forgot."""
        return self.slots.count - self.slots.num_free, self._inputs.count - self._inputs.num_free

    def close(self) -> None:
        self.mailbox.close()
        self.slots.close()
        self._inputs.close()


class StationRig:
    """A station with its thread. `begin` starts it, so that feeds can be filled before."""

    def __init__(self, device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> None:
        self.gate, self.notices, self._feeds = Gate(), list[str](), list[NumberFeed]()
        self.station = Station(DevicePlan((device,), dtype, "test"), device, self._load, self.gate, self.notices.append)
        self._networks: dict[str, Network] = {}
        self._thread = threading.Thread(target=self.station.run, name="station")

    def feed(self, name: str, **options: object) -> NumberFeed:
        feed = NumberFeed(name, self.station, **options)  # type: ignore[arg-type] # options of NumberFeed
        self._feeds.append(feed)
        self.station.add(feed)
        return feed

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self.gate.abort(Cancelled("the test is over"))
        if self._thread.ident is not None:
            self._thread.join(WAIT_S)
            assert not self._thread.is_alive()
        for feed in self._feeds:
            feed.close()

    def _load(self, name: str) -> Network:
        if name not in self._networks:
            self._networks[name] = load_network(name)
        return self._networks[name]


@contextmanager
def station_rig(device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> Iterator[StationRig]:
    made = StationRig(device, dtype)
    try:
        yield made
    finally:
        made.end()


def sized(width: int, height: int, **changes: object) -> LiveInfo:
    return replace(INFO, width=width, height=height, **changes)  # type: ignore[arg-type] # fields of LiveInfo
