"""The adversary of Real-ESRGAN: a U-Net with spectral norm that judges every pixel.

Suffixes: N pictures, H x W pixels of the large picture, both multiples of config.GAN_STRIDE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from streamsr.errors import WeightsError
from streamsr.train.config import TrainConfig
from streamsr.train.distributed import Group


class Adversary:
    """The discriminator, its optimiser and the adversarial loss, on the group's device."""

    def __init__(self, cfg: TrainConfig, group: Group) -> None:
        from streamsr.degrade.reference import GANLoss, UNetDiscriminatorSN

        self._cfg, self._group = cfg, group
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(cfg.run.seed + 1)
            self.module: nn.Module = UNetDiscriminatorSN(3, cfg.loss.gan_features)
        if cfg.loss.gan_start:
            self._start(Path(cfg.loss.gan_start).expanduser())
        self.module.to(group.device).train()
        self._loss = GANLoss(cfg.loss.gan_kind).to(group.device)
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=cfg.optim.lr, betas=cfg.optim.betas)
        self.scaler = GradScaler(group.device.type, enabled=cfg.optim.precision == "fp16")
        self._judging = group.wrap(self.module)

    def term(self, made_N3HW: Tensor) -> Tensor:
        """The weighted adversarial loss of the generator; gradients do not reach the discriminator's weights.

        The module itself, not the wrapped one: nothing of its own is to be exchanged here."""
        self.module.requires_grad_(False)
        verdict = self.module(made_N3HW)
        self.module.requires_grad_(True)
        term: Tensor = self._cfg.loss.gan * self._loss(verdict.float(), True, is_disc=False)
        return term

    def step(self, real_N3HW: Tensor, made_N3HW: Tensor, rate: float) -> dict[str, Tensor]:
        """One step of the discriminator at learning rate `rate`, on real pictures, then on made ones (no graph).

        The losses and mean verdicts before it. Two backward passes, as upstream: half the memory."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        found: dict[str, Tensor] = {}
        precision = self._cfg.optim.precision
        dtype = torch.float16 if precision == "fp16" else torch.bfloat16
        for name, picture, is_real in (("real", real_N3HW, True), ("fake", made_N3HW, False)):
            with torch.autocast(self._group.device.type, dtype, enabled=precision != "fp32"):
                verdict = self._judging(picture)
            loss = self._loss(verdict.float(), is_real, is_disc=True)
            torch.autograd.backward(self.scaler.scale(loss))
            found |= {f"d_{name}": loss.detach(), f"verdict_{name}": verdict.detach().float().mean()}
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return found

    def state(self) -> dict[str, Any]:
        """For `restore`."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def _start(self, path: Path) -> None:
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            self.module.load_state_dict(checkpoint.get("params", checkpoint))
        except Exception as error:
            what = "cannot use this checkpoint of a discriminator"
            remedy = f"It must be a UNetDiscriminatorSN of loss.gan_features = {self._cfg.loss.gan_features}."
            raise WeightsError(what, where=str(path), remedy=remedy) from error
