"""Batches of training pairs, numbered by steps: the same at a step whether the training was stopped before it or not.

Without a pool step n uses the pairs n * batch * world and following, of which rank r takes every world-th: two
processes see what one with twice the batch sees. With a pool each rank has its own, made of every world-th pair."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from streamsr.errors import ConfigError
from streamsr.train.data_config import DataConfig, PoolConfig
from streamsr.train.loader import Loader, open_loader
from streamsr.train.pairs import Pair, PairBatch, make_pair, to_bytes
from streamsr.train.pictures import Picture, turned_picture
from streamsr.train.pool import Pool, differing
from streamsr.train.sources import Group, Notice, find_sources

if TYPE_CHECKING:
    from streamsr.degrade.recipe import Recipe
    from streamsr.train.config import TrainConfig

Teacher = Callable[[Tensor], Tensor]
"""lr_N3hw float32 0..1 on the CPU -> sr_N3HW float, on any device."""
TEACHER_BATCH = 8
_DRAWS, _PATCHES = 2, 3  # streams of random numbers; crops.py has 1


class Batches:
    """Made by `open_batches`; entered with `with`, an endless iterator of PairBatch inside it."""

    def __init__(
        self,
        data: DataConfig,
        pool: PoolConfig,
        recipe: Recipe | None,
        *,
        scale: int,
        batch: int,
        seed: int,
        rank: int,
        world: int,
        step: int,
        teacher: Teacher | None,
        identity: Mapping[str, Any],
        groups: tuple[Group, ...],
        notice: Notice,
        progress: Callable[[int, int], None],
    ) -> None:
        self.step = step
        """The step whose batch comes next."""
        self.identity = identity
        self._data, self._recipe, self._scale, self._batch = data, recipe, scale, batch
        self._seed, self._rank, self._world, self._teacher = seed, rank, world, teacher
        self._has_sharp = recipe is not None and recipe.sharpen is not None
        self._groups, self._notice, self._progress = groups, notice, progress
        self._size, self._fresh = pool.size, pool.fresh
        self._folder = Path(pool.folder) / f"rank-{rank}-of-{world}" if pool.folder else None
        self._pool: Pool | None = None
        self._loader: Loader[Pair] | None = None
        self._exits = ExitStack()

    def __enter__(self) -> Batches:
        with ExitStack() as exits:
            if self._size:
                self._open_pool(exits)
            else:
                first = self.step * self._batch * self._world + self._rank
                self._loader = exits.enter_context(self._load(itertools.count(first, self._world)))
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exits.close()
        if self._pool is not None:
            self._pool.sync()

    def __iter__(self) -> Iterator[PairBatch]:
        return self

    def __next__(self) -> PairBatch:
        """The batch of `step`. Raises StageFailed when a worker died, SourceError when hardly any picture is sound."""
        batch = self._fresh_batch() if self._pool is None else self._pool_batch(self._pool)
        self.step += 1
        return batch

    def state(self) -> dict[str, Any]:
        """Goes into the checkpoint, and back through `open_batches(state=...)`."""
        return {"step": self.step, "identity": dict(self.identity)}

    def _load(self, numbers: Iterator[int]) -> Loader[Pair]:
        make = partial(make_pair, recipe=self._recipe, scale=self._scale, seed=self._seed)
        return open_loader(self._groups, self._data, self._seed, numbers, make, self._notice)

    def _fresh_batch(self) -> PairBatch:
        assert self._loader is not None, "batches are made inside the with-block"
        cuts = []
        for _ in range(self._batch):
            pair = next(self._loader)
            parts = {"lr": pair.lr_3hw, "gt": pair.gt_3HW}
            if self._has_sharp:
                parts["sharp"] = pair.sharp_3HW
            pictures = {name: part.permute(1, 2, 0).numpy() for name, part in parts.items()}
            cuts.append(self._patch(pictures, np.random.default_rng([self._seed, _PATCHES, pair.number])))
        batch = _as_batch(cuts)
        return replace(batch, teacher_N3HW=self._taught(batch.lr_N3hw)) if self._teacher else batch

    def _pool_batch(self, pool: Pool) -> PairBatch:
        numbers = self._numbers()
        if self._fresh:
            self._put_new(pool, numbers)
        rng = np.random.default_rng([self._seed, _DRAWS, self._rank, self.step])
        slots = rng.choice(self._size, self._batch, replace=self._size < self._batch)
        pool.check(slots, numbers[slots])
        # The lines of a video lie across, and so do its fields and chroma: its pairs are turned by halves only.
        turns = (0, 2) if self._recipe is not None and self._recipe.video is not None else (0, 1, 2, 3)
        cuts = []
        for slot in slots:
            cut = self._patch({name: array[slot] for name, array in pool.arrays.items()}, rng)
            turn, mirror = turns[rng.integers(len(turns))], bool(rng.integers(2))
            cuts.append({name: turned_picture(part, turn, mirror) for name, part in cut.items()})
        return _as_batch(cuts)

    def _patch(self, parts: dict[str, Picture], rng: np.random.Generator) -> dict[str, Picture]:
        """The same random square of all parts, HWC."""
        height, width = parts["lr"].shape[:2]
        side = self._data.patch or height
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        scales = {name: 1 if name == "lr" else self._scale for name in parts}
        return {
            name: part[top * s : (top + side) * s, left * s : (left + side) * s]
            for (name, part), s in zip(parts.items(), scales.values(), strict=True)
        }

    @torch.no_grad()
    def _taught(self, lr_N3hw: Tensor) -> Tensor:
        assert self._teacher is not None
        drawn_N3HW = self._teacher(lr_N3hw).float().clamp(0, 1)
        return drawn_N3HW.to("cpu", memory_format=torch.channels_last, copy=True)

    def _numbers(self) -> npt.NDArray[np.int64]:
        """Which pair each slot of the pool holds at this step: new ones go round and round."""
        made = self._size + self._fresh * self.step
        slots = np.arange(self._size)
        return np.asarray(self._rank + self._world * (slots + (made - 1 - slots) // self._size * self._size))

    def _open_pool(self, exits: ExitStack) -> None:
        """Fills what is missing, then keeps the loader open if every step wants new pairs."""
        parts = (*(("sharp",) if self._has_sharp else ()), *(("teacher",) if self._teacher else ()))
        side = self._data.crop // self._scale
        self._pool = pool = Pool(self._size, side, self._scale, parts, self._folder, self.identity)
        numbers = self._numbers()
        slots = pool.missing(numbers)
        coming = itertools.count(self._rank + self._world * (self._size + self._fresh * self.step), self._world)
        wanted = itertools.chain((int(numbers[slot]) for slot in slots), coming if self._fresh else ())
        with ExitStack() as inside:
            self._loader = loader = inside.enter_context(self._load(wanted))
            for first in range(0, len(slots), TEACHER_BATCH):
                self._put(pool, slots[first : first + TEACHER_BATCH], loader)
                self._progress(min(first + TEACHER_BATCH, len(slots)), len(slots))
            pool.sync()
            if self._fresh:
                exits.push(inside.pop_all())

    def _put_new(self, pool: Pool, numbers: npt.NDArray[np.int64]) -> None:
        """Brings the pool from the last step to this one; at the step that it was opened at there is nothing to do."""
        assert self._loader is not None, "batches are made inside the with-block"
        late = np.flatnonzero(pool.marks[:, 0] != numbers)
        slots = [int(slot) for slot in late[np.argsort(numbers[late])]]
        for first in range(0, len(slots), TEACHER_BATCH):
            self._put(pool, slots[first : first + TEACHER_BATCH], self._loader)

    def _put(self, pool: Pool, slots: list[int], loader: Loader[Pair]) -> None:
        """The next pairs into these slots, with the teacher's pictures of all at once."""
        pairs = [next(loader) for _ in slots]
        if self._teacher:
            drawn_N3HW = self._taught(torch.stack([pair.lr_3hw for pair in pairs]).float().div_(255))
            pairs = [replace(pair, teacher_3HW=to_bytes(drawn)) for pair, drawn in zip(pairs, drawn_N3HW, strict=True)]
        for slot, pair in zip(slots, pairs, strict=True):
            pool.put(slot, pair)


def _as_batch(cuts: list[dict[str, Picture]]) -> PairBatch:
    """HWC bytes of several pairs -> floats."""
    made = {
        f"{name}_N3{'hw' if name == 'lr' else 'HW'}": torch.from_numpy(
            np.ascontiguousarray(np.stack([cut[name] for cut in cuts]))
        )
        .permute(0, 3, 1, 2)
        .float()
        .div_(255)
        for name in cuts[0]
    }
    return PairBatch(**{"sharp_N3HW": made["gt_N3HW"], **made})


def open_batches(
    cfg: TrainConfig,
    *,
    scale: int,
    batch: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    first_step: int = 0,
    teacher: Teacher | None = None,
    state: Mapping[str, Any] | None = None,
    notice: Notice = lambda _line: None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Batches:
    """The batches of cfg.data and cfg.pool from `first_step` on, to be entered with `with`.

    `teacher` draws once for each pair of a pool, else for each batch. `state` is what `Batches.state` returned when the
    training was stopped: it is told by `notice` if other data are given now. `progress(done, total)` counts pairs while
    a pool is filled. Raises ConfigError for what the config cannot mean, SinkError for a pool's folder."""
    data = cfg.data
    if data.crop % scale or data.patch > data.crop // scale:
        raise ConfigError(f"crop {data.crop} and patch {data.patch} do not fit x{scale}", where="data")
    if cfg.pool.size and cfg.pool.fresh > cfg.pool.size:
        raise ConfigError("more new pairs at each step than the pool holds", where="pool.fresh")
    recipe = None
    if not data.lr:
        from streamsr.degrade.recipe import load_recipe

        recipe = load_recipe(data.recipe)
    groups = find_sources(data, notice)
    identity = _identity(data, cfg.distill.teacher if teacher else "", recipe, groups) | {
        "seed": seed, "scale": scale, "rank": rank, "world": world, "size": cfg.pool.size,
    }  # fmt: skip
    if state is not None and (difference := differing(state["identity"], identity)):
        notice(f"the training data are others than before: {difference}")
    return Batches(
        data, cfg.pool, recipe, groups=groups, identity=identity, notice=notice, progress=progress,
        scale=scale, batch=batch, seed=seed, rank=rank, world=world, step=first_step, teacher=teacher,
    )  # fmt: skip


def _identity(data: DataConfig, teacher: str, recipe: Recipe | None, groups: tuple[Group, ...]) -> dict[str, Any]:
    """All that decides the pairs; the files by name and size, so that a folder may move."""
    files = [(group.share, [(item.name, item.path.stat().st_size) for item in group.items]) for group in groups]
    listed = hashlib.sha256(repr(files).encode()).hexdigest()
    keys = ("crop", "clip_frames", "clip_every", "zoom", "candidates", "max_side", "max_side_lossy", "reduce", "loader")
    return {
        "files": f"{sum(len(group.items) for group in groups)} pictures {listed[:16]}",
        "teacher": teacher,
        "recipe": None if recipe is None else recipe.model_dump(mode="json"),
        **{key: getattr(data, key) for key in keys},
    }
