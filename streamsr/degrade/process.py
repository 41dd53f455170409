"""One training pair: the ground truth in, the low-resolution pictures out, with every step that made them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from streamsr.degrade.clip import as_clip
from streamsr.degrade.draw import draw_steps
from streamsr.degrade.recipe import Recipe
from streamsr.degrade.steps import SharpenStep, Step
from streamsr.degrade.video_steps import CodecStep, HoldStep, InterlaceStep

__all__ = ["Degraded", "degrade", "draw_steps"]

NEEDS_NEIGHBOURS = (HoldStep, InterlaceStep, CodecStep)
"""Steps whose result depends on the pictures before."""
OnStep = Callable[[Step, Tensor], None]


@dataclass(frozen=True, slots=True, eq=False)
class Degraded:
    """Pictures RGB, float32, 0..1, all on the device of the ground truth, as many as went in; each shows what its
    partner shows, also where a video recipe holds pictures. `lr_T3hw` has whole 255ths. `sharp_T3HW` is the sharpened
    ground truth, which losses of the published training compare with; `gt_T3HW` where the recipe does not sharpen."""

    lr_T3hw: Tensor = field(repr=False)
    gt_T3HW: Tensor = field(repr=False)
    sharp_T3HW: Tensor = field(repr=False)
    steps: tuple[Step, ...]


def degrade(
    gt_T3HW: Tensor, recipe: Recipe, scale: int, seed: int, on_step: OnStep | None = None, *, first: int = 0
) -> Degraded:
    """Degrade a picture (T = 1) or the T pictures of one clip, float32 RGB 0..1, sides multiples of `scale`.

    A pure function of its arguments on one device; no global generator is touched. Under a video recipe a single
    picture becomes the last one of a short pan, so that codecs have motion to predict; one pair is returned for it.
    `first`: see `draw_steps`. `on_step` sees each step and its pictures.
    Raises ValueError for sizes and types that are not as said."""
    if gt_T3HW.ndim != 4 or gt_T3HW.shape[1] != 3 or gt_T3HW.dtype != torch.float32:
        raise ValueError(f"not T3HW float32: {tuple(gt_T3HW.shape)} {gt_T3HW.dtype}")
    frames, _, height, width = gt_T3HW.shape
    still_frames = recipe.video.still_frames if recipe.video and frames == 1 else 0
    steps = draw_steps(recipe, scale, (height, width), seed, frames=still_frames or frames, first=first)
    if still_frames and any(isinstance(step, NEEDS_NEIGHBOURS) for step in steps):
        gt_T3HW = as_clip(gt_T3HW, still_frames, seed)
    x, sharp = gt_T3HW, gt_T3HW
    for step in steps:
        x = step.apply(x)
        if isinstance(step, SharpenStep):
            sharp = x
        elif isinstance(step, HoldStep):
            shown = list(step.order(gt_T3HW.shape[0]))
            gt_T3HW, sharp = gt_T3HW[shown], sharp[shown]
        if on_step:
            on_step(step, x)
    lr = (x * 255).round().clamp(0, 255) / 255
    return Degraded(lr[-frames:], gt_T3HW[-frames:], sharp[-frames:], steps)
