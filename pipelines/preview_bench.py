"""The workbench of a preview: which model works at which size, changed while pictures pass."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipelines.preview_plan import PreviewPlan, plan_preview, real_time_size, seconds_per_pixel, shown_size
from pipelines.preview_upscaler import PreviewUpscaler, as_rgb
from streamsr.config import UpscaleConfig
from streamsr.errors import ConfigError, StreamSRError
from streamsr.live_frames import LiveInfo, LivePicture
from streamsr.models.catalog import known
from streamsr.models.locations import choose_model, find
from streamsr.models.weights import Network, load_network
from streamsr.upscale.device import DevicePlan, plan_devices, precision_name

FAST_TO_SLOW = ("lite", "animevideov3", "general-x4v3", "x2plus", "x4plus-anime-6b", "x4plus")

Result = tuple[np.ndarray, tuple[np.ndarray, ...], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Wish:
    """`scale` and `to` None: the network's own factor, at a size that is real-time."""

    model: str
    scale: float | None
    to: str | None


class PreviewBench:
    """`prepare` first. `want` and the properties: from any thread. `upscale` and `close`: on one thread."""

    def __init__(self, cfg: UpscaleConfig, notice: Callable[[str], None]) -> None:
        self._cfg, self._notice = cfg, notice
        self._lock = threading.Lock()
        self._wish = self._good = self._made_with = Wish("", cfg.scale, cfg.to)
        self._networks: dict[str, Network] = {}
        self._plan: DevicePlan | None = None
        self._made: PreviewPlan | None = None
        self._made_for: LiveInfo | None = None
        self._upscaler: PreviewUpscaler | None = None
        self._fitting: dict[tuple[tuple[int, int], object], tuple[int, int]] = {}
        self.models: tuple[str, ...] = ()
        self.model = self.device = ""

    @property
    def scale(self) -> float:
        return self._made.scale if self._made is not None else 0.0

    @property
    def size_in(self) -> tuple[int, int]:
        return self._made.size_in if self._made is not None else (0, 0)

    @property
    def size_out(self) -> tuple[int, int]:
        return (self._made.target.width, self._made.target.height) if self._made is not None else (0, 0)

    def prepare(self) -> None:
        """Finds device and model. Raises ConfigError, WeightsError."""
        plan = self._plan = plan_devices(self._cfg.device, self._cfg.precision)
        name, reason = self._cfg.model, ""
        if name == "auto":
            name, reason = choose_model(plan.kind, can_pull=False)
        self._network(name)
        self.model, self.device = name, f"{plan.kind.upper()} {precision_name(plan.dtype)}"
        here = [each for each in FAST_TO_SLOW if find(each) is not None]
        entry = known(name)
        self.models = tuple(here if entry is not None and entry.name in here else [*here, name])
        self._wish = self._good = replace(self._wish, model=name)
        self._notice(f"upscaling on {plan.why}" + (f"; model {reason}" if reason else ""))

    def want(self, *, model: str | None = None, scale: float | None = None) -> None:
        """From the next picture on."""
        with self._lock:
            if model is not None:
                self._wish = replace(self._wish, model=model)
            if scale is not None:
                self._wish = replace(self._wish, scale=scale, to=None)

    def upscale(self, picture: LivePicture) -> Result | None:
        """(original, upscaled planes, size of these); None for a picture that was given up. The planes are overwritten
        by the next call. A wish that cannot be met is taken back with a notice; what fails at first is raised."""
        assert self._plan is not None, "prepare comes first"
        upscaler = self._upscaler_for(picture.info)
        original = as_rgb(picture.slot.memory, picture.info, upscaler.size_in, self._plan.devices[0])
        try:
            planes = upscaler.upscale(original)
        except (StreamSRError, RuntimeError) as error:
            if not self._step_back(self._made_with, error):
                raise
            return None
        self._good = self._made_with
        return original, planes, (upscaler.target.width, upscaler.target.height)

    def close(self) -> None:
        if self._upscaler is not None:
            self._upscaler.close()
            self._upscaler = None

    def _upscaler_for(self, info: LiveInfo) -> PreviewUpscaler:
        while True:
            with self._lock:
                wish = self._wish
            if self._upscaler is not None and wish == self._made_with and self._is_same(info):
                return self._upscaler
            try:
                upscaler = self._make(wish, info)
            except (StreamSRError, RuntimeError) as error:
                if not self._step_back(wish, error):
                    raise
                continue
            self.close()
            self._upscaler, self._made_with, self._made_for = upscaler, wish, info
            self.model = wish.model

    def _make(self, wish: Wish, info: LiveInfo) -> PreviewUpscaler:
        assert self._plan is not None, "prepare comes first"
        network = self._network(wish.model)
        size_in = self._size_in(info)
        cfg = _with(self._cfg, wish)
        made = plan_preview(cfg, info, network, size_in)
        upscaler = PreviewUpscaler(network, size_in, made.target, self._plan, cfg.tile, self._notice)
        self._made = made
        width, height = size_in
        self._notice(f"{width}x{height} -> {made.target.width}x{made.target.height} with {wish.model}")
        return upscaler

    def _size_in(self, info: LiveInfo) -> tuple[int, int]:
        """Without a size that was asked for, a CPU gets pictures as large as it can upscale in time, once for all."""
        shown = shown_size(info)
        assert self._plan is not None, "prepare comes first"
        plan, network = self._plan, self._network(self._good.model)
        if plan.kind != "cpu" or self._cfg.scale is not None or self._cfg.to is not None:
            return shown
        if (shown, info.rate) not in self._fitting:
            size, fps = real_time_size(shown, info.rate, lambda: seconds_per_pixel(network, plan))
            self._fitting[shown, info.rate] = size
            if size != shown:
                self._notice(
                    f"pictures are made {size[0]}x{size[1]} before {self.model} upscales them: so many keep up with"
                    f" {fps:.3g} a second on this CPU (--scale or --to takes them as they are)"
                )
        return self._fitting[shown, info.rate]

    def _network(self, name: str) -> Network:
        if name not in self._networks:
            self._networks[name] = load_network(name, self._cfg.denoise if name == self._cfg.model else None)
        return self._networks[name]

    def _is_same(self, info: LiveInfo) -> bool:
        before = self._made_for
        return before is not None and (before is info or _kind(before) == _kind(info))

    def _step_back(self, failed: Wish, error: Exception) -> bool:
        """Back to what gave pictures before. False if there is nothing else."""
        with self._lock:
            if failed == self._good:
                return False
            if self._wish == failed:
                self._wish = self._good
        self._notice(f"that cannot be: {error}")
        return True


def _kind(info: LiveInfo) -> tuple[object, ...]:
    return info.width, info.height, info.layout, info.color, info.sample_aspect, info.orientation


def _with(cfg: UpscaleConfig, wish: Wish) -> UpscaleConfig:
    """Raises ConfigError for a scale out of range."""
    if wish.scale is not None and not 0 < wish.scale <= 16:
        raise ConfigError(f"scale {wish.scale:g} is out of range", remedy="Take 0 < scale <= 16.")
    return cfg.model_copy(update={"model": wish.model, "scale": wish.scale, "to": wish.to})
