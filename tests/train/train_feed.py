"""Batches that need no files: smooth colours with hard-edged shapes, made small by area."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from streamsr.train.config import TrainConfig
from streamsr.train.pairs import PairBatch


def pictures(count: int, side: int, seed: int) -> Tensor:
    """(count, 3, side, side) in 0..1: stripes and discs on a gradient, which bicubic enlargement blurs."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.arange(side, dtype=torch.float32)
    y, x = axis[:, None], axis[None, :]
    made = []
    for _ in range(count):
        numbers = torch.rand(12, generator=generator)
        picture = numbers[:3, None, None] * (y / side) + numbers[3:6, None, None] * (1 - x / side)
        stripes = torch.sin((x * numbers[6] + y * (1 - numbers[6])) * 0.5) > 0
        disc = (x - numbers[7] * side) ** 2 + (y - numbers[8] * side) ** 2 < (side / 4) ** 2
        made.append(torch.where(stripes & disc, numbers[9:12, None, None], picture / 2))
    return torch.stack(made).clamp(0, 1)


def batch_of(gt_N3HW: Tensor, scale: int, teacher: Tensor | None = None) -> PairBatch:
    return PairBatch(F.avg_pool2d(gt_N3HW, scale), gt_N3HW, gt_N3HW, teacher)


class Feed:
    """Stands for batches.Batches: the batch of step n is drawn from n, one process's part of it from its rank."""

    def __init__(self, cfg: TrainConfig, scale: int, batch: int, rank: int, world: int, step: int) -> None:
        self._cfg, self._scale, self._batch, self._rank, self._world, self.n = cfg, scale, batch, rank, world, step

    def __next__(self) -> PairBatch:
        gt_N3HW = pictures(self._batch * self._world, self._cfg.data.crop, self._cfg.run.seed * 1000 + self.n)
        self.n += 1
        return batch_of(gt_N3HW[self._rank :: self._world].contiguous(), self._scale)

    def state(self) -> dict[str, Any]:
        return {"step": self.n}


@contextmanager
def open_feed(cfg: TrainConfig, **given: Any) -> Iterator[Feed]:
    """In place of batches.open_batches."""
    assert given["state"] is None or given["state"]["step"] == given["first_step"]
    yield Feed(cfg, given["scale"], given["batch"], given["rank"], given["world"], given["first_step"])


def small_config(**sections: dict[str, Any]) -> TrainConfig:
    """A tiny SRVGG for a few steps; `sections` override single keys."""
    tree: dict[str, dict[str, Any]] = {
        "model": {"family": "srvgg", "scale": 2, "features": 8, "depth": 1},
        "data": {"pictures": ["nowhere"], "crop": 32},
        "optim": {"steps": 6, "batch": 2, "lr": 1e-3},
        "run": {"device": "cpu", "log_every": 1, "save_every": 3, "tensorboard": False, "samples": 0},
    }
    for section, keys in sections.items():
        tree[section] = tree.get(section, {}) | keys
    return TrainConfig.model_validate(tree)
