"""Gaussian and Poisson noise as in basicsr's torch functions, from a generator that is handed in.

One difference: basicsr gives all pictures of a batch the same gray Gaussian noise; here each picture has its own."""

from __future__ import annotations

import torch
from torch import Tensor

GRAY = (0.2989, 0.587, 0.114)
"""torchvision's weights of R, G, B, which basicsr uses."""


def gaussian_noise(x_N3HW: Tensor, sigma: float, is_gray: bool, generator: torch.Generator) -> Tensor:
    """Noise to be added to `x_N3HW` (0..1): standard deviation `sigma` / 255; gray noise is N1HW."""
    size = (x_N3HW.shape[0], 1 if is_gray else 3, *x_N3HW.shape[-2:])
    return torch.randn(size, generator=generator, dtype=x_N3HW.dtype, device=x_N3HW.device) * sigma / 255


def poisson_noise(x_N3HW: Tensor, scale: float, is_gray: bool, generator: torch.Generator) -> Tensor:
    """Shot noise to be added to `x_N3HW` (0..1), times `scale`; gray noise is N1HW.

    A level is taken as a count of that many of the picture's distinct levels, rounded up to a power of two."""
    x = x_N3HW
    if is_gray:
        x = GRAY[0] * x[:, :1] + GRAY[1] * x[:, 1:2] + GRAY[2] * x[:, 2:]
    levels = (x * 255).round().clamp(0, 255)
    x = levels / 255
    counts = torch.stack([_power_of_two(picture) for picture in levels]).view(-1, 1, 1, 1)
    return (torch.poisson(x * counts, generator=generator) / counts - x) * scale


def _power_of_two(levels_CHW: Tensor) -> Tensor:
    """The number of distinct levels (whole numbers 0..255), rounded up to a power of two."""
    distinct = torch.zeros(256, device=levels_CHW.device).index_fill_(0, levels_CHW.long().flatten(), 1.0).sum()
    return 2.0 ** distinct.log2().ceil()
