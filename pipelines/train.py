"""The program `train`: batches -> steps -> checkpoints, exports and what they are worth."""

from __future__ import annotations

import _thread
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

import torch

from pipelines.journal import open_journal
from pipelines.train_state import Keeper, prepare
from streamsr.display.training import open_training_display
from streamsr.errors import Interrupted
from streamsr.runtime.allocator import keep_freed_memory
from streamsr.runtime.interrupt import interrupts
from streamsr.train.batches import open_batches
from streamsr.train.config import TrainConfig
from streamsr.train.distributed import open_group
from streamsr.train.runs import open_run
from streamsr.train.teacher import open_teacher

GRACE_S = 20.0
"""From SIGTERM to the end without a checkpoint; torchrun kills after 30 s."""


def train(cfg: TrainConfig, folder: Path, stream: TextIO, *, resume: bool = False, fresh: bool = False) -> Path:
    """Trains in `folder` until `optim.steps` are done and returns the exported model; people read along on `stream`.

    A run that the folder holds goes on if its configuration is this one, with `resume` also with another; with `fresh`
    it is moved aside. The first Ctrl-C ends the step and saves, the second stops at once; both raise Interrupted."""
    keep_freed_memory()
    if cfg.run.threads:
        torch.set_num_threads(cfg.run.threads)
    stop, model, optim = threading.Event(), cfg.model, cfg.optim
    with ExitStack() as stack:
        group = stack.enter_context(open_group(cfg.run))
        display = stack.enter_context(open_training_display(stream, quiet=not group.is_first))
        run = stack.enter_context(open_run(folder, group, fresh=fresh, notice=display.notice))
        trainer, batches_state = prepare(cfg, run, group, display.notice, resume=resume)
        teacher = open_teacher(cfg.distill, model.scale, group.device)
        batches = stack.enter_context(
            open_batches(
                cfg, scale=model.scale, batch=optim.batch, seed=cfg.run.seed, rank=group.rank, world=group.world,
                first_step=trainer.done, teacher=teacher, state=batches_state, notice=display.notice,
                progress=display.filling,
            )
        )  # fmt: skip
        journal = stack.enter_context(open_journal(cfg, display, run.path if group.is_first else None, trainer.done))
        keeper = Keeper(cfg, run, group, trainer, journal, display.notice)
        stack.enter_context(interrupts(stop.set, _stop_now, GRACE_S))
        while trainer.done < optim.steps:
            asked_s = time.monotonic()
            batch = next(batches)
            waited_s = time.monotonic() - asked_s
            losses, rate = trainer.step(batch)
            journal.step(trainer.done, losses, rate, waited_s)
            is_stopped = group.anywhere(stop.is_set())
            keeper.step(batch, batches.state, is_stopped=is_stopped)
            if is_stopped:
                raise Interrupted(f"stopped and saved after step {trainer.done}", remedy="The same command goes on.")
        return run.model


def _stop_now() -> None:
    """Ends the main thread's work wherever it is."""
    if threading.current_thread() is threading.main_thread():
        raise Interrupted("stopped at once", remedy="The same command goes on from the last checkpoint.")
    _thread.interrupt_main()
