"""How near one picture is to another, how natural it looks, and what a network does to colours and to stillness.

PSNR and SSIM are the field's: on the luma of BT.601 (16..235, not rounded), a border left out, pictures in 8 bit."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from streamsr.errors import ConfigError
from streamsr.train.pictures import Picture

BT601 = (65.481, 128.553, 24.966)
"""Luma of full R, G, B above 16, of 255."""
NIQE_MIN_SIDE = 192
"""NIQE looks at blocks of 96 pixels, and at how they vary."""
STATIC_STEPS = 2
"""Input pixels that change by at most so many 255ths, with all their neighbours, are called static."""
STATIC_REACH = 2
"""Neighbours: this many pixels in each direction."""

Plane = npt.NDArray[np.float64]


def luma(picture: Picture, border: int = 0) -> Plane:
    """HWC RGB 8 bit -> HW, 16..235, without `border` pixels on each side."""
    inner = picture[border : picture.shape[0] - border, border : picture.shape[1] - border]
    return np.asarray(inner @ np.array(BT601) / 255 + 16, dtype=np.float64)


def psnr_y(one: Picture, other: Picture, border: int) -> float:
    """dB; infinite for equal pictures."""
    error = float(np.square(luma(one, border) - luma(other, border)).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def ssim_y(one: Picture, other: Picture, border: int) -> float:
    """Wang et al. 2004: Gaussian window of 11x11 and 1.5 px, only where all of it lies in the picture."""
    a, b = luma(one, border), luma(other, border)
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    both = _blurred(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ratio = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    ratio /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float(ratio.mean())


def _blurred(values: Plane) -> Plane:
    if min(values.shape) < 11:
        raise ConfigError(f"{values.shape[1]}x{values.shape[0]} is too small for SSIM", remedy="It needs 11 pixels.")
    return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5)[5:-5, 5:-5], dtype=np.float64)


def niqe(picture: Picture, border: int) -> float:
    """basicsr's NIQE (Mittal et al. 2013): lower looks more natural. NaN below NIQE_MIN_SIDE and for a flat picture.

    Raises ConfigError without basicsr."""
    if min(picture.shape[:2]) - 2 * border < NIQE_MIN_SIDE:
        return math.nan
    from streamsr.degrade.reference import calculate_niqe

    # Flat blocks have no statistics: basicsr divides by their spread and leaves them out afterwards.
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return float(np.squeeze(calculate_niqe(np.ascontiguousarray(picture[..., ::-1]), border)))
        except (np.linalg.LinAlgError, ValueError):
            return math.nan


def color_shift(made: Picture, truth: Picture) -> tuple[float, float, float]:
    """Mean of made minus truth for R, G, B, in steps of 255."""
    red, green, blue = (made.astype(np.int16) - truth).mean(axis=(0, 1))
    return float(red), float(green), float(blue)


@dataclass(frozen=True, slots=True)
class Flicker:
    """Mean absolute change from picture to picture where the input stands still, in steps of 255.

    `static_share`: how much of the input that is. `change` is the output's, `input_change` the input's own."""

    static_share: float
    input_change: float
    change: float


def flicker(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Flicker | None:
    """Of two successive pictures, each (lr_3hw, sr_3HW) uint8; None where nothing stands still."""
    change_hw = (after[0].int() - before[0].int()).abs().amax(0)
    moving = F.max_pool2d((change_hw > STATIC_STEPS)[None, None].float(), 2 * STATIC_REACH + 1, 1, STATIC_REACH)
    static_hw = moving[0, 0] == 0
    if not static_hw.any():
        return None
    scale = after[1].shape[1] // after[0].shape[1]
    static_HW = static_hw.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    input_change = (after[0].int() - before[0].int()).abs()[:, static_hw].float().mean()
    change = (after[1].int() - before[1].int()).abs()[:, static_HW].float().mean()
    return Flicker(float(static_hw.float().mean()), float(input_change), float(change))


def mean_flicker(parts: list[Flicker]) -> Flicker | None:
    """Weighted by how much stands still."""
    if not parts:
        return None
    weights = torch.tensor([part.static_share for part in parts], dtype=torch.float64)
    rows = torch.tensor([(part.static_share, part.input_change, part.change) for part in parts], dtype=torch.float64)
    _, input_change, change = ((rows * weights[:, None]).sum(0) / weights.sum()).tolist()
    return Flicker(float(weights.mean()), input_change, change)
