"""How a training run begins, goes on after a stop, and what it leaves: checkpoints, exports, validations, samples."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from pipelines.journal import Journal
from streamsr.train.cases import Case, CaseConfig, read_cases
from streamsr.train.checkpoint import check_same, deciding, load_checkpoint, save_checkpoint, write_whole
from streamsr.train.config import TrainConfig
from streamsr.train.distributed import Group
from streamsr.train.evaluate import validate
from streamsr.train.export import commit, export
from streamsr.train.generator import new_generator
from streamsr.train.page import Page
from streamsr.train.pairs import PairBatch
from streamsr.train.perceptual import find_vgg
from streamsr.train.runs import RunFolder
from streamsr.train.trainer import Trainer


def prepare(
    cfg: TrainConfig, run: RunFolder, group: Group, notice: Callable[[str], None], *, resume: bool
) -> tuple[Trainer, dict[str, Any] | None]:
    """The trainer, as the newest checkpoint of the run left it, and the state of its batches (None: from the start).

    Raises ConfigError if the run is one of another configuration, unless `resume`."""
    saved = load_checkpoint(run.path, notice)
    if saved is not None and not resume:
        check_same(saved["config"], cfg, group.world, run.path)
    vgg = None
    for is_turn in (group.is_first, not group.is_first):
        if cfg.loss.perceptual and is_turn:
            vgg = find_vgg(cfg.loss.vgg, notice)  # the first process fetches it where that is asked for
        group.wait()
    generator, architecture = new_generator(cfg.model, cfg.run.seed, notice if saved is None else _unheard)
    trainer = Trainer(cfg, generator, architecture, group, vgg)
    if saved is None:
        if group.is_first:
            _write_config(cfg, run)
        notice(f"{architecture}, {sum(p.numel() for p in generator.parameters())} parameters, on {group.device}")
        return trainer, None
    trainer.restore(saved["trainer"])
    _restore_rng(saved["rng"])
    notice(f"goes on after step {trainer.done}")
    states = saved["batches"]
    return trainer, states[group.rank] if len(states) == group.world else None


class Keeper:
    """After each step: validates, saves and exports where it is time to. All processes call it alike."""

    def __init__(
        self,
        cfg: TrainConfig,
        run: RunFolder,
        group: Group,
        trainer: Trainer,
        journal: Journal,
        notice: Callable[[str], None],
    ) -> None:
        self._cfg, self._run, self._group, self._trainer, self._journal = cfg, run, group, trainer, journal
        self._metrics: dict[str, float] = {}
        self._cases: list[Case] = []
        if cfg.validation.pictures and group.is_first:
            self._cases = list(read_cases(cfg.validation.pictures, _case_config(cfg), notice))

    def step(self, batch: PairBatch, state_of_batches: Callable[[], dict[str, Any]], *, is_stopped: bool) -> None:
        """`batch` is what was learned from last."""
        done, is_last = self._trainer.done, self._trainer.done == self._cfg.optim.steps
        if self._cases and not is_stopped and (is_last or done % self._cfg.validation.every == 0):
            page = Page(self._run.path / "validation")
            self._metrics = validate(self._trainer.average.module, self._cases, page)
            recipe = self._cfg.validation.recipe
            words = (
                f"Held-out pictures, made small by {recipe}." if recipe else "Held-out pictures, made small by area."
            )
            page.finish(f"{self._run.name} after step {done}", words, ())
            self._journal.validated(done, self._metrics)
        if is_stopped or is_last or done % self._cfg.run.save_every == 0:
            self.save(state_of_batches())
            self._show(batch)

    def save(self, state_of_batches: dict[str, Any]) -> None:
        """A checkpoint, and the model for use."""
        state = self._trainer.state()
        batches = self._group.collected(state_of_batches)
        if self._group.is_first:
            config = deciding(self._cfg, self._group.world)
            whole = {"step": self._trainer.done, "trainer": state, "batches": batches, "rng": _rng(), "config": config}
            save_checkpoint(self._run.path, whole, self._cfg.run.keep)
            trainer = self._trainer
            export(self._run.path, self._run.name, trainer.average.module, trainer.generator, self._facts())

    def _show(self, batch: PairBatch) -> None:
        count = self._cfg.run.samples
        if not (count and self._group.is_first):
            return
        lr_N3hw = batch.lr_N3hw[:count].to(self._group.device)
        with torch.inference_mode():
            made_N3HW = self._trainer.average.module(lr_N3hw)
        self._journal.samples(self._trainer.done, lr_N3hw, made_N3HW, batch.gt_N3HW[:count])

    def _facts(self) -> Mapping[str, str]:
        """For the header of a file that may be published: names of files, not their places."""
        cfg = self._cfg
        paired = f"paired with {_name(cfg.data.lr)}" if cfg.data.lr else ""
        hidden = {"model": {"start"}, "loss": {"vgg", "gan_start"}, "distill": {"teacher"}}
        settings = cfg.model_dump(mode="json", include={"model", "loss", "distill", "optim"}, exclude=hidden)
        return {
            "architecture": str(self._trainer.architecture),
            "scale": str(cfg.model.scale),
            "steps": str(self._trainer.done),
            "date": datetime.date.today().isoformat(),
            "commit": commit(),
            "recipe": paired or _name(cfg.data.recipe),
            "data": ", ".join(map(_name, (*cfg.data.pictures, *cfg.data.clips))),
            "start": _name(cfg.model.start) or cfg.model.init,
            "teacher": _name(cfg.distill.teacher),
            "metrics": json.dumps(self._metrics),
            "config": json.dumps(settings),
        }


def _name(path: str) -> str:
    return Path(path).name


def _case_config(cfg: TrainConfig) -> CaseConfig:
    validation, scale = cfg.validation, cfg.model.scale
    return CaseConfig(
        scale=scale,
        held_out=cfg.data.held_out,
        recipe=validation.recipe,
        max_side=cfg.data.max_side,
        crop=validation.crop,
        count=validation.count,
        seed=cfg.run.seed,
    )


def _write_config(cfg: TrainConfig, run: RunFolder) -> None:
    text = cfg.model_dump_json(indent=2)
    write_whole(run.config, lambda path: path.write_text(text + "\n", "utf-8"))


def _rng() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _restore_rng(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _unheard(_text: str) -> None:
    pass
