"""What a preview is made with: the sizes that a source, the user's wishes and the machine's speed leave."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from pipelines.live_plan import as_video
from pipelines.preview_upscaler import PreviewUpscaler
from streamsr.config import UpscaleConfig
from streamsr.errors import ConfigError
from streamsr.live_frames import UPRIGHT, LiveInfo
from streamsr.models.weights import Network
from streamsr.upscale.chain import network_scales
from streamsr.upscale.device import DevicePlan
from streamsr.upscale.target import Target, plan_target

SCALES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
MAX_PIXELS = 7680 * 4320
"""Of an upscaled picture: larger ones are no preview any more."""
USUAL_FPS = 30.0
"""Of a source that does not say how fast it is."""
TRIAL, TRIALS = (160, 96), 3
"""What the speed of a machine is measured with: the first run warms up."""
SHARE = 0.6
"""Of the time between two pictures that upscaling may take: decoding and showing take the rest."""
SMALLEST_SIDE = 64


@dataclass(frozen=True, slots=True)
class PreviewPlan:
    """`size_in`: (width, height) of what the network sees, upright with square pixels."""

    size_in: tuple[int, int]
    target: Target

    @property
    def scale(self) -> float:
        return self.target.width / self.size_in[0]


def shown_size(info: LiveInfo) -> tuple[int, int]:
    """(width, height) of the source's pictures as they are seen: upright, with square pixels."""
    video = as_video(info)
    width, height = video.upright_size
    aspect = video.upright_sample_aspect
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def plan_preview(cfg: UpscaleConfig, info: LiveInfo, network: Network, size_in: tuple[int, int]) -> PreviewPlan:
    """Raises ConfigError for a size that cannot be."""
    seen = replace(info, width=size_in[0], height=size_in[1], sample_aspect=Fraction(1), orientation=UPRIGHT)
    target = plan_target(cfg, as_video(seen), network_scales(network), square=True)
    if target.width * target.height > MAX_PIXELS:
        raise ConfigError(
            f"{target.width}x{target.height} is too large for a preview", remedy="Take a smaller --scale."
        )
    return PreviewPlan(size_in, target)


def seconds_per_pixel(network: Network, plan: DevicePlan) -> float:
    """Measured: what one input pixel costs at the network's own factor. Takes a few tenths of a second for lite."""
    width, height = TRIAL
    target = Target(width * network.scale, height * network.scale, Fraction(1), network.scale)
    upscaler = PreviewUpscaler(network, TRIAL, target, plan, 0, lambda _: None)
    try:
        picture = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
        fastest = math.inf
        for number in range(TRIALS):
            began = time.perf_counter()
            upscaler.upscale(picture)
            if number:
                fastest = min(fastest, time.perf_counter() - began)
    finally:
        upscaler.close()
    return fastest / (width * height)


def real_time_size(
    shown: tuple[int, int], rate: Fraction | None, cost: Callable[[], float]
) -> tuple[tuple[int, int], float]:
    """The largest (width, height) of this shape, at most the picture's own, that is upscaled at the source's rate, and
    that rate. `cost`: as `seconds_per_pixel`."""
    fps = float(rate or USUAL_FPS)
    affordable = SHARE / fps / cost()
    factor = min(1.0, math.sqrt(affordable / (shown[0] * shown[1])))
    factor = max(factor, min(1.0, SMALLEST_SIDE / min(shown)))
    if factor == 1.0:
        return shown, fps
    # Of the even widths a little below, that whose even height keeps the shape best.
    widest = max(2, 2 * round(shown[0] * factor / 2))
    sizes = [
        (width, max(2, 2 * round(width * shown[1] / shown[0] / 2))) for width in range(widest, widest * 9 // 10, -2)
    ]
    width, height = min(sizes, key=lambda size: abs(size[0] * shown[1] - size[1] * shown[0]) / size[1])
    return (width, height), fps
