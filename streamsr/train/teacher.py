"""The network that is learned from, brought to the student's scale."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamsr.errors import ConfigError
from streamsr.models.srvgg import SRVGG
from streamsr.models.weights import load_network
from streamsr.train.config import DistillConfig

Teacher = Callable[[Tensor], Tensor]
"""lr_N3hw -> sr_N3HW, both 0..1, fp32, on the device of the input, without a graph."""


def open_teacher(cfg: DistillConfig, scale: int, device: torch.device) -> Teacher | None:
    """The teacher of `[distill]` as a function that computes on `device`; None where there is none.

    A teacher of a multiple of the student's scale is folded (SRVGG) or averaged down by area, which gives the same
    numbers. Raises ConfigError for another scale, and WeightsError."""
    if not cfg.teacher:
        return None
    network = load_network(cfg.teacher)
    factor = network.scale // scale
    if network.scale % scale:
        raise ConfigError(
            f"the teacher {network.name} enlarges by {network.scale}, the student by {scale}",
            remedy="distill.teacher must have the scale of the model, or a multiple of it.",
        )
    module: nn.Module = network.module
    if isinstance(module, SRVGG) and factor > 1:
        module, factor = module.folded(factor), 1
    module = module.to(device)

    @torch.inference_mode()
    def draw(lr_N3hw: Tensor) -> Tensor:
        made = module(lr_N3hw.to(device, memory_format=torch.channels_last))
        return F.avg_pool2d(made, factor).clamp_(0, 1).to(lr_N3hw.device)

    return draw
