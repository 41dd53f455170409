"""The devices that live streams share: a station with its thread for each, and the networks loaded on them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from pipelines.live_plan import RESIZE, LivePlan, plan_stream, wanted_model
from streamsr.errors import StageFailed
from streamsr.live.address import TargetAddress
from streamsr.live_config import StreamConfig
from streamsr.live_frames import LiveInfo
from streamsr.models.locations import choose_model, find
from streamsr.models.weights import Network, load_network
from streamsr.report import Watcher
from streamsr.runtime.gate import Cancelled, Gate
from streamsr.upscale.device import DevicePlan, plan_devices
from streamsr.upscale.station import Station

LEAVE_S = 0.5
"""For the picture in work, which on a CPU may take minutes and cannot be stopped: its thread ends with the process."""

Planner = Callable[[tuple[TargetAddress, ...]], Callable[[LiveInfo], LivePlan]]


class Devices:
    """With-block. `place` chooses the station with the fewest streams among those that a stream's settings allow."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher, self._gate = watcher, Gate()
        self._stations: dict[tuple[str, str], Station] = {}
        self._num_streams: dict[Station, int] = {}
        self._threads: list[threading.Thread] = []
        self._networks: dict[str, Network] = {}
        self._denoise: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Devices:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gate.abort(Cancelled("the job has ended"))
        for thread in self._threads:
            thread.join(LEAVE_S)

    def place(self, cfg: StreamConfig) -> tuple[Station, Planner]:
        """A station, and the way to plan a stream for it. Raises ConfigError, WeightsError."""
        plan = plan_devices(cfg.upscale.device, cfg.upscale.precision)

        model = wanted_model(cfg.upscale, lambda: choose_model(plan.kind, can_pull=False)[0])
        if cfg.upscale.denoise is not None:
            model = self._denoising(model, cfg.upscale.denoise)
        if model != RESIZE:
            self._network(model)
        stations = [self._station(plan, number) for number in range(len(plan.devices))]
        station = min(stations, key=lambda each: self._num_streams[each])
        self._num_streams[station] += 1

        def planner(targets: tuple[TargetAddress, ...]) -> Callable[[LiveInfo], LivePlan]:
            return lambda info: plan_stream(
                cfg, info, model, targets, self._network, lambda name: find(name) is not None
            )

        return station, planner

    def leave(self, station: Station) -> None:
        """A stream that `place` was called for is gone."""
        self._num_streams[station] -= 1

    @property
    def trouble(self) -> StageFailed | None:
        """Why a device is lost for this process, if one is."""
        return next((station.error for station in self._stations.values() if station.error is not None), None)

    @property
    def stations(self) -> tuple[Station, ...]:
        return tuple(self._stations.values())

    def _denoising(self, model: str, denoise: float) -> str:
        """The name under which a network with its denoise blend goes: stations know networks by name."""
        name = f"{model}, denoise {denoise:g}"
        self._denoise[name] = model, denoise
        return name

    def _network(self, name: str) -> Network:
        with self._lock:
            if name not in self._networks:
                self._networks[name] = load_network(*self._denoise.get(name, (name, None)))
            return self._networks[name]

    def _station(self, plan: DevicePlan, number: int) -> Station:
        device = plan.devices[number]
        key = (str(device), str(plan.dtype))
        if key not in self._stations:
            station = Station(plan, device, self._network, self._gate, self._watcher.notice)
            thread = threading.Thread(target=station.run, name=f"upscale[{device}]", daemon=True)
            self._stations[key], self._num_streams[station] = station, 0
            self._threads.append(thread)
            thread.start()
            self._watcher.notice(f"upscaling on {plan.why}")
        return self._stations[key]
