"""Training pairs: a crop and what a recipe makes of it, in bytes; and batches of them, in floats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from streamsr.errors import ConfigError
from streamsr.train.crops import Crop

if TYPE_CHECKING:
    from streamsr.degrade.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """uint8 on the CPU, H = scale * h. `sharp_3HW` is `gt_3HW` itself where nothing is sharpened; `teacher_3HW` is what
    a teacher made of `lr_3hw`."""

    number: int
    lr_3hw: Tensor = field(repr=False)
    gt_3HW: Tensor = field(repr=False)
    sharp_3HW: Tensor = field(repr=False)
    teacher_3HW: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class PairBatch:
    """float32, 0..1, on the CPU, channels last in memory, which convolutions on a CPU like best. `sharp_N3HW` is
    `gt_N3HW` itself where nothing is sharpened."""

    lr_N3hw: Tensor = field(repr=False)
    gt_N3HW: Tensor = field(repr=False)
    sharp_N3HW: Tensor = field(repr=False)
    teacher_N3HW: Tensor | None = field(default=None, repr=False)


def make_pair(crop: Crop, recipe: Recipe | None, scale: int, seed: int) -> Pair:
    """The pair of a crop: a pure function. Of a clip it is the last picture, which codecs have predicted from the
    others; paired data (`crop.lr_T3hw`) need no recipe.

    Raises ConfigError where paired pictures are not of this scale."""
    if crop.lr_T3hw is not None:
        lr_3hw, gt_3HW = crop.lr_T3hw[-1].clone(), crop.frames_T3HW[-1].clone()
        if gt_3HW.shape[1] != scale * lr_3hw.shape[1]:
            found = f"{gt_3HW.shape[1] / lr_3hw.shape[1]:g}"
            raise ConfigError(f"the pictures are x{found} pairs, the model is x{scale}", where=crop.name)
        return Pair(crop.number, lr_3hw, gt_3HW, gt_3HW)
    assert recipe is not None, "pictures without low-resolution halves need a recipe"
    from streamsr.degrade.process import degrade  # needs basicsr

    made = degrade(crop.frames_T3HW.float().div_(255), recipe, scale, mixed(seed, crop.number))
    gt_3HW = to_bytes(made.gt_T3HW[-1])
    sharp_3HW = gt_3HW if recipe.sharpen is None else to_bytes(made.sharp_T3HW[-1])
    return Pair(crop.number, to_bytes(made.lr_T3hw[-1]), gt_3HW, sharp_3HW)


def mixed(seed: int, number: int) -> int:
    """One seed of two, 0..2^63-1."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def to_bytes(values: Tensor) -> Tensor:
    """0..1 (what is outside is clipped) -> rounded uint8 on the CPU, contiguous."""
    return values.detach().mul(255).round_().clamp_(0, 255).to("cpu", torch.uint8).contiguous()
