"""The network of a job: chosen, fetched if the user agrees, loaded once for many files."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, cast

from streamsr.config import UpscaleConfig
from streamsr.models.locations import choose_model
from streamsr.models.weights import Network, load_network
from streamsr.report import Watcher


def network_for(cfg: UpscaleConfig, device_kind: str, watcher: Watcher) -> Network:
    """The network that `cfg.model` names; for "auto" one line says which and why. Raises WeightsError."""
    name = cfg.model
    if name == "auto":
        name, reason = choose_model(cast(Literal["cuda", "mps", "cpu"], device_kind), can_pull=False)
        watcher.notice(f"model {reason}")
    return _loaded(name, cfg.denoise)


@lru_cache(maxsize=1)
def _loaded(name: str, denoise: float | None) -> Network:
    return load_network(name, denoise)
