"""What a run writes about itself: TensorBoard's curves and pictures, and log.jsonl for everything else that reads."""

from __future__ import annotations

import json
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from streamsr.display.training import Moment, TrainingDisplay
from streamsr.errors import ConfigError
from streamsr.train.checkpoint import write_whole
from streamsr.train.config import TrainConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG = "log.jsonl"


class Journal:
    """Collects the losses of steps and tells display, log and TensorBoard about them. Writes nothing without `run`."""

    def __init__(
        self, cfg: TrainConfig, display: TrainingDisplay, run: Path | None, board: SummaryWriter | None
    ) -> None:
        self._cfg, self._display, self._run, self._board = cfg, display, run, board
        self._begin()

    def step(self, step: int, losses: Mapping[str, float], rate: float, waited_s: float) -> None:
        """After step number `step` (from 1); `waited_s` is how long its batch was waited for."""
        self._num += 1
        self._waited_s += waited_s
        for name, value in losses.items():
            self._sums[name] += value
        elapsed_s = max(time.monotonic() - self._began_s, 1e-9)
        means = {name: value / self._num for name, value in self._sums.items()}
        waiting = self._waited_s / elapsed_s
        now = Moment(step, self._cfg.optim.steps, means, rate, elapsed_s / self._num, waiting)
        is_logged = step % self._cfg.run.log_every == 0 or step == self._cfg.optim.steps
        self._display.moment(now, is_logged)
        if is_logged:
            self._write(step, "train", {**means, "rate": rate, "step_s": now.step_s, "waiting": waiting})
            self._begin()

    def validated(self, step: int, values: Mapping[str, float]) -> None:
        """The result of a validation after `step`."""
        self._display.notice(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        self._write(step, "validation", values)

    def samples(self, step: int, lr_N3hw: Tensor, made_N3HW: Tensor, gt_N3HW: Tensor) -> None:
        """Rows of: the small picture enlarged, what the network makes of it, the truth."""
        if self._board is None:
            return
        enlarged = F.interpolate(lr_N3hw, made_N3HW.shape[2:], mode="nearest")
        grid = torch.cat([picture.float().cpu() for picture in (enlarged, made_N3HW, gt_N3HW)], 3)
        self._board.add_image("samples", torch.cat(list(grid), 1).clamp(0, 1), step)

    def _begin(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._num, self._waited_s, self._began_s = 0, 0.0, time.monotonic()

    def _write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        if self._run is not None:
            with (self._run / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)


@contextmanager
def open_journal(cfg: TrainConfig, display: TrainingDisplay, run: Path | None, done: int) -> Iterator[Journal]:
    """A journal into the folder `run` (None: display only) of a run that goes on after `done` steps."""
    board = None
    if run is not None:
        _forget_after(run / LOG, done)
    if run is not None and cfg.run.tensorboard:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of protobuf and of numpy, inside tensorboard
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                remedy = "Install it, or set run.tensorboard = false."
                raise ConfigError("TensorBoard is missing", where=str(error), remedy=remedy) from error
        board = SummaryWriter(str(run / "tensorboard"), purge_step=done + 1 if done else None)
    try:
        yield Journal(cfg, display, run, board)
    finally:
        if board is not None:
            board.close()


def _forget_after(log: Path, done: int) -> None:
    """Takes out what a run wrote after its last checkpoint, before it was killed."""
    if log.is_file():
        kept = [line for line in log.read_text("utf-8").splitlines() if line.endswith("}") and _step_of(line) <= done]
        write_whole(log, lambda path: path.write_text("".join(f"{line}\n" for line in kept), "utf-8"))


def _step_of(line: str) -> int:
    return int(json.loads(line)["step"])
