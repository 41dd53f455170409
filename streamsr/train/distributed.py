"""Several processes that train one network, started by torchrun; one process alone is a group too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from streamsr.errors import ConfigError
from streamsr.train.config import RunConfig


@dataclass(frozen=True, slots=True)
class Group:
    """This process among those that train together: number `rank` of `world`, computing on `device`."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """The first one alone writes files and speaks."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """`module` whose gradients become the mean of all processes' at the end of a backward pass; its parameters
        become those of the first."""
        if self.world == 1:
            return module
        ids = [self.device] if self.device.type == "cuda" else None
        # Buffers (of spectral norms) are computed from the weights, alike everywhere: sending them would only change
        # them under a graph that still needs them.
        return DistributedDataParallel(module, device_ids=ids, broadcast_buffers=False)

    def anywhere(self, flag: bool) -> bool:
        """Whether `flag` is set in any process: the same answer in all of them."""
        if self.world == 1:
            return flag
        voice = torch.tensor([int(flag)], device=self.device)
        distributed.all_reduce(voice, op=distributed.ReduceOp.MAX)
        return bool(voice.item())

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes of a tensor on `device`."""
        if self.world > 1:
            distributed.all_reduce(values)
            values /= self.world
        return values

    def collected(self, value: Any) -> list[Any]:
        """The values of all processes in the order of their ranks; to the first one only, the others get []."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world if self.is_first else []
        distributed.gather_object(value, values if self.is_first else None)
        return values

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def open_group(cfg: RunConfig) -> Iterator[Group]:
    """The group that torchrun's variables (RANK, WORLD_SIZE, LOCAL_RANK) describe; without them this process alone.

    nccl on GPUs, gloo on CPUs. A process that dies ends the others: torchrun kills them, and no wait for each other is
    longer than `run.patience_s`. Raises ConfigError for a device that is not there."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    device = device_of(cfg.device, local if world > 1 else None)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # all batches have one size
    if world == 1:
        yield Group(0, 1, device)
        return
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        timeout=timedelta(seconds=cfg.patience_s),
        device_id=device if device.type == "cuda" else None,
    )
    try:
        yield Group(rank, world, device)
    finally:
        distributed.destroy_process_group()


def device_of(choice: str, local: int | None) -> torch.device:
    """The device that `run.device` means; with torchrun the GPU number `local`. Raises ConfigError."""
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(choice)
    except RuntimeError as error:
        raise ConfigError(f"run.device = {choice!r} is wrong", remedy="Write auto, cpu, cuda or cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"run.device = {choice!r} is wrong", remedy="Training runs on cpu and cuda.")
    if device.type == "cpu":
        return device
    index = device.index if device.index is not None else local or 0
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise ConfigError(f"there is no GPU number {index}, only {count}", remedy="Set run.device, or fewer processes.")
    return torch.device("cuda", index)
