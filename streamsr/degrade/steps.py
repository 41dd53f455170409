"""The steps of a degradation: frozen values with their numbers already drawn, each a function of pictures alone.

A step's name begins with its stage: truth, first, second, final, video. Pictures are T3HW float32, RGB, 0..1 (a blur
may leave the range a little, as published), of one clip: they share the numbers, and each has noise of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from streamsr.degrade.blur import filtered, sharpened
from streamsr.degrade.kernels import Kernel
from streamsr.degrade.noise import gaussian_noise, poisson_noise
from streamsr.degrade.recipe import Mode, Sharpen


class Step(Protocol):
    """One step, with its numbers already drawn."""

    @property
    def name(self) -> str:
        """Stage and deed, as "first blur"."""

    @property
    def parameters(self) -> Mapping[str, str | float | int]:
        """For people: what was drawn."""

    def apply(self, x_T3HW: Tensor) -> Tensor:
        """The pictures after the step, on the same device."""


@dataclass(frozen=True, slots=True)
class SharpenStep:
    """Unsharp masking of the ground truth."""

    settings: Sharpen
    name: str = "truth sharpen"

    @property
    def parameters(self) -> Mapping[str, str | float | int]:
        return {"weight": self.settings.weight, "size": self.settings.kernel_size, "threshold": self.settings.threshold}

    def apply(self, x_T3HW: Tensor) -> Tensor:
        return sharpened(x_T3HW, self.settings.weight, self.settings.kernel_size, self.settings.threshold)


@dataclass(frozen=True, slots=True)
class BlurStep:
    """Correlation with one kernel."""

    name: str
    kernel: Kernel

    @property
    def parameters(self) -> Mapping[str, str | float | int]:
        return self.kernel.parameters

    def apply(self, x_T3HW: Tensor) -> Tensor:
        return filtered(x_T3HW, torch.from_numpy(self.kernel.matrix()).to(x_T3HW))


@dataclass(frozen=True, slots=True)
class ResizeStep:
    """To `size` (H, W), by torch's interpolation; only the smooth modes are antialiased, the published ones are not.

    `factor` is the one that was drawn, of the size that comes in or `of_target`, of the low-resolution size. With
    `is_by_factor` coordinates are computed with it, as `interpolate(scale_factor=...)` does, else from the sizes."""

    name: str
    size: tuple[int, int]
    factor: float
    mode: Mode
    is_by_factor: bool = False
    of_target: bool = False

    @property
    def parameters(self) -> Mapping[str, str | float | int]:
        of = " of target" if self.of_target else ""
        return {"factor": f"{self.factor:.2f}{of}", "mode": self.mode, "to": f"{self.size[1]}x{self.size[0]}"}

    def apply(self, x_T3HW: Tensor) -> Tensor:
        kind, _, method = self.mode.partition(" ")
        if kind == "smooth":
            return functional.interpolate(x_T3HW, size=self.size, mode=method, antialias=True)
        if self.is_by_factor and self.mode != "area":
            return functional.interpolate(x_T3HW, scale_factor=self.factor, mode=self.mode)
        return functional.interpolate(x_T3HW, size=self.size, mode=self.mode)


@dataclass(frozen=True, slots=True)
class NoiseStep:
    """Gaussian noise of standard deviation `strength` (of 255), or Poisson noise times `strength`; the result is
    clamped to 0..1. `seed` makes the noise itself, on the pictures' device."""

    name: str
    is_gaussian: bool
    strength: float
    is_gray: bool
    seed: int

    @property
    def parameters(self) -> Mapping[str, str | float | int]:
        kind, word = ("gaussian", "sigma") if self.is_gaussian else ("poisson", "scale")
        return {"noise": kind, word: round(self.strength, 2), "color": "gray" if self.is_gray else "rgb"}

    def apply(self, x_T3HW: Tensor) -> Tensor:
        generator = torch.Generator(x_T3HW.device).manual_seed(self.seed)
        noise = gaussian_noise if self.is_gaussian else poisson_noise
        return (x_T3HW + noise(x_T3HW, self.strength, self.is_gray, generator)).clamp(0, 1)


@dataclass(frozen=True, slots=True)
class JpegStep:
    """JPEG of that quality, rounded as a codec rounds: no gradient."""

    name: str
    quality: float

    @property
    def parameters(self) -> Mapping[str, str | float | int]:
        return {"quality": round(self.quality, 1)}

    def apply(self, x_T3HW: Tensor) -> Tensor:
        from streamsr.degrade.jpeg import compressed

        return compressed(x_T3HW, self.quality)
