"""What is made of the pictures that a generator drew: the terms of the loss, without the adversarial one.

Suffixes: N pictures, H x W pixels of the large picture. All pictures are RGB in 0..1, fp32."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from streamsr.train.config import DistillConfig, LossConfig
from streamsr.train.pairs import PairBatch
from streamsr.train.perceptual import Perceptual


def target_of(truth_N3HW: Tensor, teacher_N3HW: Tensor | None, cfg: DistillConfig) -> Tensor:
    """The picture to draw: a mixture of teacher and truth.

    One mixed target, not two distances: the median between a teacher that is always the same and a truth that scatters
    would be the teacher alone. The teacher takes the truth's local means first, so that no cast is learned from it:
    animevideov3 brightens by one to four steps of 255."""
    if teacher_N3HW is None:
        return truth_N3HW
    if cfg.means_px:
        side = min(cfg.means_px, *truth_N3HW.shape[2:])
        cast = F.avg_pool2d(teacher_N3HW - truth_N3HW, side)
        teacher_N3HW = teacher_N3HW - F.interpolate(cast, truth_N3HW.shape[2:], mode="bilinear")
    return cfg.share * teacher_N3HW + (1 - cfg.share) * truth_N3HW


def edges(error_N3HW: Tensor) -> Tensor:
    """The mean absolute difference of neighbours, down and across added."""
    return error_N3HW.diff(dim=2).abs().mean() + error_N3HW.diff(dim=3).abs().mean()


def local_means(error_N3HW: Tensor, side: int) -> Tensor:
    """The mean absolute value of the means over squares of `side` pixels."""
    return F.avg_pool2d(error_N3HW, min(side, *error_N3HW.shape[2:])).abs().mean()


def content_terms(
    made_N3HW: Tensor, batch: PairBatch, loss: LossConfig, distill: DistillConfig, perceptual: Perceptual | None
) -> dict[str, Tensor]:
    """Name -> weighted term, for every term whose weight is not zero; their sum is to be made small.

    l1 and edge look at the target (truth mixed with the teacher), means and perceptual at the truth."""
    target = target_of(batch.sharp_N3HW if loss.l1_sharp else batch.gt_N3HW, batch.teacher_N3HW, distill)
    error, terms = made_N3HW - target, {}
    if loss.l1:
        terms["l1"] = loss.l1 * error.abs().mean()
    if loss.edge:
        terms["edge"] = loss.edge * edges(error)
    if loss.means:
        terms["means"] = loss.means * local_means(made_N3HW - batch.gt_N3HW, loss.means_px)
    if perceptual is not None:
        truth = batch.sharp_N3HW if loss.perceptual_sharp else batch.gt_N3HW
        terms["perceptual"] = loss.perceptual * perceptual(made_N3HW, truth)
    return terms


def learning_rate(step: int, steps: int, peak: float, last: float | None, warmup: int, flat: float) -> float:
    """Of step number `step` (from 0): a straight warm-up, flat for the share `flat` of all steps, then a cosine."""
    if step < warmup:
        return peak * (step + 1) / warmup
    if last is None:
        return peak
    done = max(0.0, (step / steps - flat) / (1 - flat))
    return last + (peak - last) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
