"""JPEG on the device, by basicsr's DiffJPEG: 4:2:0, the standard's tables, no entropy coding.

Its table of luma is transposed: details that lie are quantised as the standard quantises those that stand. It stays so,
as Real-ESRGAN was trained with it."""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch import Tensor

from streamsr.degrade import reference


def compressed(x_N3HW: Tensor, quality: float, *, is_differentiable: bool = False) -> Tensor:
    """What a JPEG of `quality` 1..100 makes of RGB pictures; input is clamped to 0..1, output is 0..1, float32.

    Rounding has no slope. With `is_differentiable` it is approximated by round(c) + (c - round(c))^3, and gradients
    flow; the picture then differs a little from that of a real codec."""
    return _codec(is_differentiable, x_N3HW.device)(x_N3HW.clamp(0, 1), quality=float(quality))  # type: ignore[no-any-return]


@functools.cache
def _codec(is_differentiable: bool, device: torch.device) -> Any:
    # DiffJPEG objects share their tables, and moving one to a device moves those of all: each gets a copy.
    codec = copy.deepcopy(reference.DiffJPEG(differentiable=is_differentiable))
    return codec.requires_grad_(False).to(device)
