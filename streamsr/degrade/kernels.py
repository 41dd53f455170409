"""Blur kernels: their numbers are drawn here, from the generator that is handed in; the formulas are basicsr's.

Real-ESRGAN, arXiv 2107.10833, sections 3.1 and 3.4; choices as in basicsr's `random_mixed_kernels`
and `RealESRGANDataset`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamsr.degrade.recipe import Final, Order

PARAMETER_DIGITS = 2
SMALL_SINC = 13
"""Sinc kernels smaller than this begin at pi/3 instead of pi/5: they have no room for a longer wave."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel. `kind` is a name of KernelShares, or "sinc". `size` is its odd side and `sigma_x`, `sigma_y` are its
    widths, in pixels; `rotation` is in radians, `beta` is the shape of generalised and plateau kernels, `cutoff` the
    sinc's frequency in radians per pixel (pi: passes all). What a kind does not use is 0, as sigma_y of round ones."""

    kind: str
    size: int
    sigma_x: float = 0.0
    sigma_y: float = 0.0
    rotation: float = 0.0
    beta: float = 0.0
    cutoff: float = 0.0

    @property
    def parameters(self) -> Mapping[str, str | float | int]:
        """For people: degrees, two digits, only what the kind uses."""
        facts: dict[str, str | float | int] = {"kernel": self.kind.replace("_", " "), "size": self.size}
        if self.kind == "sinc":
            return {**facts, "cutoff": round(self.cutoff, PARAMETER_DIGITS)}
        if self.sigma_y:
            facts["sigma"] = f"{self.sigma_x:.2f} x {self.sigma_y:.2f}"
            facts["angle"] = f"{math.degrees(self.rotation):.0f} deg"
        else:
            facts["sigma"] = round(self.sigma_x, PARAMETER_DIGITS)
        if self.beta:
            facts["beta"] = round(self.beta, PARAMETER_DIGITS)
        return facts

    def matrix(self) -> NDArray[np.float64]:
        """size x size, sums to 1."""
        from streamsr.degrade import reference

        if self.kind == "sinc":
            with np.errstate(divide="ignore", invalid="ignore"):  # basicsr overwrites the 0 / 0 of the centre
                return _as_matrix(reference.circular_lowpass_kernel(self.cutoff, self.size))
        numbers = (self.size, self.sigma_x, self.sigma_y, self.rotation)
        is_round = self.kind == "iso" or self.kind.endswith("_iso")
        if self.kind.startswith("generalized"):
            return _as_matrix(reference.bivariate_generalized_Gaussian(*numbers, self.beta, isotropic=is_round))
        if self.kind.startswith("plateau"):
            return _as_matrix(reference.bivariate_plateau(*numbers, self.beta, isotropic=is_round))
        return _as_matrix(reference.bivariate_Gaussian(*numbers, isotropic=is_round))


def draw_kernel(order: Order, rng: np.random.Generator) -> Kernel:
    """The kernel of one blur: a sinc with order.sinc_prob, else one of order.kernel_prob."""
    size = _draw_size(order.kernel_sizes, rng)
    if rng.random() < order.sinc_prob:
        return Kernel("sinc", size, cutoff=rng.uniform(math.pi / (3 if size < SMALL_SINC else 5), math.pi))
    kinds, shares = zip(*order.kernel_prob, strict=True)
    kind = kinds[rng.choice(len(kinds), p=np.array(shares) / sum(shares))]
    sigma_x, sigma_y, rotation, beta = rng.uniform(*order.blur_sigma), 0.0, 0.0, 0.0
    if kind.endswith("aniso"):
        sigma_y, rotation = rng.uniform(*order.blur_sigma), rng.uniform(-math.pi, math.pi)
    if kind.startswith(("generalized", "plateau")):
        low, high = order.betag_range if kind.startswith("generalized") else order.betap_range
        beta = rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)
    return Kernel(kind, size, sigma_x, sigma_y, rotation, beta)


def draw_final_sinc(final: Final, rng: np.random.Generator) -> Kernel:
    """The last sinc filter: from pi/3 whatever its size, as published."""
    return Kernel("sinc", _draw_size(final.kernel_sizes, rng), cutoff=rng.uniform(math.pi / 3, math.pi))


def _draw_size(sizes: tuple[int, int], rng: np.random.Generator) -> int:
    return int(rng.choice(np.arange(sizes[0], sizes[1] + 1, 2)))


def _as_matrix(values: Any) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)
