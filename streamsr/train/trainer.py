"""Networks, optimisers and what one step does to them.

Suffixes: N pictures, h x w small, H x W large. Pictures are RGB in 0..1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from streamsr.errors import StageFailed, WeightsError
from streamsr.models.registry import Architecture, Module
from streamsr.train.average import Average
from streamsr.train.config import TrainConfig
from streamsr.train.discriminator import Adversary
from streamsr.train.distributed import Group
from streamsr.train.losses import content_terms, learning_rate
from streamsr.train.pairs import PairBatch
from streamsr.train.perceptual import Perceptual

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Trainer:
    """Generator, its average, and, with `loss.gan`, a discriminator; `done` counts the steps.

    All processes of the group hold the same weights and do the same steps on their own batches. `vgg`: the weights for
    the perceptual loss, None without it."""

    def __init__(
        self, cfg: TrainConfig, generator: Module, architecture: Architecture, group: Group, vgg: Path | None
    ) -> None:
        self.cfg, self.architecture, self.group, self.done = cfg, architecture, group, 0
        self.generator = generator.to(group.device)
        self.average = Average(self.generator, cfg.optim.ema, ramp=cfg.optim.ema_ramp)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=cfg.optim.lr, betas=cfg.optim.betas)
        self.scaler = GradScaler(group.device.type, enabled=cfg.optim.precision == "fp16")
        self.perceptual = None if vgg is None else Perceptual(vgg).to(group.device)
        self.adversary = Adversary(cfg, group) if cfg.loss.gan else None
        if cfg.run.compile:
            self.generator.compile()
        self._drawing = group.wrap(self.generator)

    def step(self, batch: PairBatch) -> tuple[dict[str, float], float]:
        """One step on `batch`: the weighted terms of the loss before it, means over all processes, with their sum as
        "loss" and what the discriminator says beside; and the learning rate.

        Raises StageFailed, in all processes, where a loss is not a finite number; the average is not changed then."""
        device_batch = self._moved(batch)
        rate = self.learning_rate()
        self._set_rate(rate)
        with self._autocast():
            made_N3HW = self._drawing(device_batch.lr_N3hw)
            terms = content_terms(made_N3HW.float(), device_batch, self.cfg.loss, self.cfg.distill, self.perceptual)
            if self.adversary is not None:
                terms["gan"] = self.adversary.term(made_N3HW)
        loss = torch.stack(list(terms.values())).sum()
        self._check(loss)
        self._descend(loss)
        if self.adversary is not None:
            real_N3HW = device_batch.sharp_N3HW if self.cfg.loss.gan_sharp else device_batch.gt_N3HW
            terms |= self.adversary.step(real_N3HW, made_N3HW.detach(), rate)
        values = self.group.mean(torch.stack([loss.detach(), *(term.detach().float() for term in terms.values())]))
        found = dict(zip(("loss", *terms), values.tolist(), strict=True))
        if not all(map(math.isfinite, found.values())):
            raise self._diverged("the discriminator's loss is not a finite number")
        self.average.update(self.done)
        self.done += 1
        return found, rate

    def learning_rate(self) -> float:
        """Of the step that is next."""
        optim = self.cfg.optim
        return learning_rate(self.done, optim.steps, optim.lr, optim.last_lr, optim.warmup, optim.flat)

    def state(self) -> dict[str, Any]:
        """Everything that steps change, as tensors and plain values; for `restore`. Raises StageFailed if the weights
        are not finite numbers: such a state is not worth keeping."""
        modules = [self.generator] if self.adversary is None else [self.generator, self.adversary.module]
        if not all(bool(value.isfinite().all()) for module in modules for value in module.state_dict().values()):
            raise self._diverged("the weights are not finite numbers any more")
        state = {
            "step": self.done,
            "generator": self.generator.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        return state | ({} if self.adversary is None else {"adversary": self.adversary.state()})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state()`. Raises WeightsError if it is another network's."""
        try:
            self.generator.load_state_dict(state["generator"])
            self.average.module.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            if self.adversary is not None and "adversary" in state:
                self.adversary.restore(state["adversary"])
            self.done = int(state["step"])
        except (KeyError, RuntimeError, ValueError) as error:
            what = f"the checkpoint does not fit this configuration: {error}"
            raise WeightsError(what, remedy="Start anew with --fresh.") from error

    def _moved(self, batch: PairBatch) -> PairBatch:
        """On the device, channels last in memory, which convolutions like best."""
        pictures = (batch.lr_N3hw, batch.gt_N3HW, batch.sharp_N3HW, batch.teacher_N3HW)
        moved = {}
        for picture in pictures:
            # gt and sharp are often one and the same.
            if picture is not None and id(picture) not in moved:
                moved[id(picture)] = picture.to(self.group.device, non_blocking=True, memory_format=torch.channels_last)
        lr, gt, sharp, teacher = (moved.get(id(picture)) for picture in pictures)
        assert lr is not None
        assert gt is not None
        assert sharp is not None
        return PairBatch(lr, gt, sharp, teacher)

    def _autocast(self) -> torch.autocast:
        precision = self.cfg.optim.precision
        return torch.autocast(self.group.device.type, DTYPES[precision], enabled=precision != "fp32")

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _check(self, loss: Tensor) -> None:
        if self.group.anywhere(not math.isfinite(loss.item())):
            raise self._diverged("the loss is not a finite number")

    def _diverged(self, what: str) -> StageFailed:
        remedy = "The last checkpoint is good. Try a smaller optim.lr, optim.clip = 0.5, or optim.precision = fp32."
        return StageFailed(what, stage="train", index=self.done, remedy=remedy)

    def _descend(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(loss))
        if self.cfg.optim.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.generator.parameters(), self.cfg.optim.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
