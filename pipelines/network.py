"""The network of a job: chosen, found, loaded once for many files."""

from __future__ import annotations

from functools import lru_cache

from streamsr.config import UpscaleConfig
from streamsr.models.catalog import known, look_up
from streamsr.models.locations import choose_model, find
from streamsr.models.weights import BLEND_WEAK, Network, load_network
from streamsr.report import Watcher
from streamsr.upscale.device import Kind, plan_devices


def network_for(cfg: UpscaleConfig, device_kind: Kind, watcher: Watcher) -> Network:
    """The network that `cfg.model` names; for "auto" one line says which and why. Raises WeightsError."""
    name = cfg.model
    if name == "auto":
        name, reason = choose_model(device_kind, can_pull=False)
        watcher.notice(f"model {reason}")
    return _loaded(name, cfg.denoise)


def missing_weights(cfg: UpscaleConfig) -> list[str]:
    """Names of the catalogue that the job wants, that are not on this machine and can be fetched."""
    names = [cfg.model] if known(cfg.model) else []
    if cfg.model == "auto" and plan_devices(cfg.device, cfg.precision).kind != "cpu":
        names = ["animevideov3"]
    if cfg.denoise is not None:
        names += [BLEND_WEAK]
    entries = [look_up(name) for name in names]
    return [entry.name for entry in entries if entry.url is not None and find(entry.name) is None]


@lru_cache(maxsize=1)
def _loaded(name: str, denoise: float | None) -> Network:
    return load_network(name, denoise)
