"""What is decided about a file before its first picture, once: with what it is upscaled, to which size, how it is
encoded, and in which portions. The same for a whole film, for one of its chunks, and on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from pipelines.network import network_for
from streamsr.config import EncodeConfig, JobConfig, UpscaleConfig
from streamsr.frames import VideoInfo
from streamsr.media.encoders import EncoderSettings, choose_codec, choose_encoder, keeps_sample_aspect
from streamsr.models.weights import Network
from streamsr.report import Watcher
from streamsr.runtime.allocator import keep_freed_memory
from streamsr.upscale.chain import Look, network_scales
from streamsr.upscale.device import DevicePlan, plan_devices
from streamsr.upscale.memory import Budget, plan_budget
from streamsr.upscale.target import Target, plan_target


@dataclass(frozen=True, slots=True)
class Means:
    """With what a job computes."""

    plan: DevicePlan
    network: Network


@dataclass(frozen=True, slots=True)
class Treatment:
    """What happens to each picture of one file. Plain values that travel to other processes and machines.

    `origin`: the moment in the file, in seconds, that is time 0 of the stamps."""

    info: VideoInfo
    origin: Fraction
    target: Target
    settings: EncoderSettings
    budget: Budget

    @property
    def look(self) -> Look:
        """The sides of the network's chain: as decoded, and as encoded."""
        info, settings = self.info, self.settings
        return Look(info.layout, info.color, settings.layout, settings.color, info.orientation)

    @property
    def slot_bytes(self) -> int:
        """Of one upscaled picture."""
        return self.settings.layout.num_bytes(self.target.width, self.target.height)


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that was decided before the first frame."""

    cfg: JobConfig
    means: Means
    treatment: Treatment

    def choices(self) -> list[str]:
        """A line for each choice a user may want to know of, before the work begins."""
        info, target, network = self.treatment.info, self.treatment.target, self.means.network
        width, height = info.upright_size
        lines = [
            f"{width}x{height} -> {target.width}x{target.height} with {network.name} "
            f"x{target.network_scale} on {self.means.plan.why}",
            self.treatment.settings.description,
        ]
        needed = max(target.width / width, target.height / height)
        if needed > target.network_scale * 1.01:
            lines.append(f"the network gives x{target.network_scale}; the rest of x{needed:.2f} is plain resizing")
        return lines


def choose_means(cfg: UpscaleConfig, watcher: Watcher) -> Means:
    """Devices and network. To be called before threads that compute are started. Raises ConfigError, WeightsError."""
    keep_freed_memory()
    plan = plan_devices(cfg.device, cfg.precision)
    return Means(plan, network_for(cfg, plan.kind, watcher))


def decide(cfg: JobConfig, info: VideoInfo, origin: Fraction, means: Means, target_path: Path) -> Job:
    """The treatment of a source like `info` on its way into `target_path`. Raises ConfigError for what cannot be."""
    suffix = target_path.suffix.lower()
    target, settings = _output_of(cfg.upscale, cfg.encode, info, means.network, suffix)
    budget = plan_budget(
        means.network,
        means.plan.devices[0],
        means.plan.dtype.itemsize,
        *info.upright_size,
        cfg.upscale.batch,
        cfg.upscale.tile,
    )
    return Job(cfg, means, Treatment(info, origin, target, settings, budget))


def _output_of(
    upscale: UpscaleConfig, encode: EncodeConfig, info: VideoInfo, network: Network, suffix: str
) -> tuple[Target, EncoderSettings]:
    can_tell_shape = keeps_sample_aspect(choose_codec(encode, info, suffix), suffix)
    target = plan_target(upscale, info, network_scales(network), square=not can_tell_shape)
    return target, choose_encoder(encode, info, target.width, target.height, target.sample_aspect, suffix)
