"""Batches: exact at every step, with and without a pool, after a restart, over ranks and workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from streamsr.degrade.recipe import load_recipe
from streamsr.errors import ConfigError, StageFailed
from streamsr.train.batches import Batches, open_batches
from streamsr.train.crops import open_crops
from streamsr.train.pairs import PairBatch, make_pair
from streamsr.train.pool import EMPTY
from tests.train.data_pictures import config, gradient, some_pictures, write

SCALE = 4


class Doubler:
    """A teacher that counts: nearest-neighbour enlargement."""

    def __init__(self) -> None:
        self.pictures = 0

    def __call__(self, lr_N3hw: Tensor) -> Tensor:
        self.pictures += len(lr_N3hw)
        return F.interpolate(lr_N3hw, scale_factor=SCALE)


def open_some(folder: Path, pool: dict[str, Any] | None = None, **arguments: Any) -> Batches:
    fields = arguments.pop("fields", {})
    return open_batches(config(folder, pool, **fields), **{"scale": SCALE, "batch": 3, "seed": 7, **arguments})


def taken(batches: Batches, count: int) -> list[PairBatch]:
    with batches:
        return [next(batches) for _ in range(count)]


def assert_same(one: PairBatch, other: PairBatch) -> None:
    for name in ("lr_N3hw", "gt_N3HW", "sharp_N3HW", "teacher_N3HW"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None and b is None) or torch.equal(a, b), name


def differ(one: PairBatch, other: PairBatch) -> bool:
    return not torch.equal(one.gt_N3HW, other.gt_N3HW)


def test_a_pair_is_the_crop_degraded(tmp_path: Path) -> None:
    cfg = config(some_pictures(tmp_path))
    crop = open_crops(cfg.data, 7, pytest.fail).crop(5)
    pair, again = (make_pair(crop, load_recipe("x4plus"), SCALE, 7) for _ in range(2))
    assert torch.equal(pair.gt_3HW, crop.frames_T3HW[0])
    assert pair.lr_3hw.shape == (3, 8, 8)
    assert pair.lr_3hw.dtype == pair.sharp_3HW.dtype == torch.uint8
    assert torch.equal(pair.lr_3hw, again.lr_3hw)
    assert not torch.equal(pair.sharp_3HW, pair.gt_3HW)
    plain = make_pair(crop, load_recipe("x4plus").model_copy(update={"sharpen": None}), SCALE, 7)
    assert plain.sharp_3HW is plain.gt_3HW


def test_batches_are_floats_of_the_pairs(tmp_path: Path) -> None:
    (batch,) = taken(open_some(some_pictures(tmp_path)), 1)
    assert batch.lr_N3hw.shape == (3, 3, 8, 8)
    assert batch.gt_N3HW.shape == (3, 3, 32, 32)
    assert batch.sharp_N3HW is batch.gt_N3HW, "the classical recipe does not sharpen"
    assert batch.teacher_N3HW is None
    assert batch.lr_N3hw.is_contiguous(memory_format=torch.channels_last)
    for picture in (batch.lr_N3hw, batch.gt_N3HW):
        assert torch.equal((picture * 255).round() / 255, picture)
        assert 0 <= picture.min() < picture.max() <= 1


@pytest.mark.parametrize("pool", [None, {"size": 6, "fresh": 0}, {"size": 6, "fresh": 2}, {"size": 2, "fresh": 1}])
def test_a_restart_changes_nothing(tmp_path: Path, pool: dict[str, Any] | None) -> None:
    some_pictures(tmp_path)
    whole = taken(open_some(tmp_path, pool, teacher=Doubler(), fields={"patch": 6}), 7)
    batches = open_some(tmp_path, pool, teacher=Doubler(), fields={"patch": 6})
    first, state = taken(batches, 3), batches.state()
    told: list[str] = []
    rest = open_some(
        tmp_path, pool, teacher=Doubler(), fields={"patch": 6}, first_step=3, state=state, notice=told.append
    )
    for one, other in zip(whole, first + taken(rest, 4), strict=True):
        assert_same(one, other)
    assert differ(whole[0], whole[1])
    assert state["step"] == 3
    assert not told


def test_other_data_after_a_restart_are_told(tmp_path: Path) -> None:
    some_pictures(tmp_path)
    state = json.loads(json.dumps(open_some(tmp_path).state()))
    told: list[str] = []
    open_some(tmp_path, state=state, notice=told.append, fields={"crop": 64})
    assert told == ["the training data are others than before: crop was 32, now 64"]


def test_two_ranks_see_what_one_with_twice_the_batch_sees(tmp_path: Path) -> None:
    some_pictures(tmp_path)
    whole = taken(open_some(tmp_path, batch=4), 3)
    ranks = [taken(open_some(tmp_path, batch=2, rank=rank, world=2), 3) for rank in range(2)]
    for step, both in enumerate(zip(*ranks, strict=True)):
        for rank, part in enumerate(both):
            assert torch.equal(part.lr_N3hw, whole[step].lr_N3hw[rank::2])
            assert torch.equal(part.gt_N3HW, whole[step].gt_N3HW[rank::2])


def test_the_patch_is_the_same_place_in_all_parts(tmp_path: Path) -> None:
    large = gradient(128, 128)
    write(tmp_path / "hr" / "one.png", large)
    write(tmp_path / "lr" / "one.png", large[::4, ::4])
    places = set()
    for pool in (None, {"size": 8, "fresh": 1}):
        fields = {"patch": 5, "lr": str(tmp_path / "lr")}
        for batch in taken(open_some(tmp_path / "hr", pool, teacher=Doubler(), fields=fields), 6):
            assert batch.lr_N3hw.shape[2:] == (5, 5)
            assert batch.teacher_N3HW is not None
            assert torch.equal(batch.teacher_N3HW, F.interpolate(batch.lr_N3hw, scale_factor=SCALE))
            for small, big in zip(batch.lr_N3hw, batch.gt_N3HW, strict=True):
                # Of each 4x4 block the pixel in one corner was kept; which one depends on the turn.
                assert any(torch.equal(small, big[:, y::4, x::4]) for y in (0, 3) for x in (0, 3))
                places.add(tuple(small.amin(dim=(1, 2)).tolist()))
    assert len(places) > 20


def test_a_teacher_draws_once_for_each_pair_of_a_pool(tmp_path: Path) -> None:
    some_pictures(tmp_path)
    teacher = Doubler()
    batches = taken(open_some(tmp_path, {"size": 5, "fresh": 0}, teacher=teacher), 20)
    assert teacher.pictures == 5
    assert not any(batch.gt_N3HW.requires_grad or batch.gt_N3HW.is_inference() for batch in batches)
    taken(open_some(tmp_path, {"size": 5, "fresh": 2}, teacher=teacher), 4)
    assert teacher.pictures == 5 + 5 + 3 * 2


def test_new_pairs_replace_the_oldest(tmp_path: Path) -> None:
    batches = open_some(some_pictures(tmp_path), {"size": 5, "fresh": 2})
    held = []
    with batches:
        for _ in range(4):
            next(batches)
            assert batches._pool is not None
            held.append(set(batches._pool.marks[:, 0].tolist()))
    assert held == [{0, 1, 2, 3, 4}, {2, 3, 4, 5, 6}, {4, 5, 6, 7, 8}, {6, 7, 8, 9, 10}]


def test_pools_of_ranks_hold_different_pairs(tmp_path: Path) -> None:
    some_pictures(tmp_path)
    held = []
    for rank in range(2):
        with open_some(tmp_path, {"size": 4, "fresh": 1}, rank=rank, world=2) as batches:
            assert batches._pool is not None
            held.append(batches._pool.marks[:, 0].tolist())
    assert held == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_pairs_of_a_pool_are_turned_and_mirrored(tmp_path: Path) -> None:
    write(tmp_path / "gradient.png", gradient(32, 32))
    batches = taken(open_some(tmp_path, {"size": 1, "fresh": 0}, batch=1), 80)
    assert len({batch.gt_N3HW.numpy().tobytes() for batch in batches}) == 8


def test_a_pool_on_disk_survives(tmp_path: Path) -> None:
    some_pictures(tmp_path / "in")
    pool, teacher = {"size": 6, "fresh": 2, "folder": str(tmp_path / "pool")}, Doubler()
    whole = taken(open_some(tmp_path / "in", {"size": 6, "fresh": 2}, teacher=Doubler()), 6)
    first = taken(open_some(tmp_path / "in", pool, teacher=teacher), 3)
    assert teacher.pictures == 6 + 2 * 2
    rest = taken(open_some(tmp_path / "in", pool, teacher=teacher, first_step=3), 3)
    for one, other in zip(whole, first + rest, strict=True):
        assert_same(one, other)
    assert teacher.pictures == 6 + 5 * 2, "what lay there was not made again"


def test_damage_in_a_pool_on_disk_is_repaired(tmp_path: Path) -> None:
    some_pictures(tmp_path / "in")
    pool, teacher = {"size": 6, "fresh": 0, "folder": str(tmp_path / "pool")}, Doubler()
    whole = taken(open_some(tmp_path / "in", pool, teacher=teacher), 4)
    files = tmp_path / "pool" / "rank-0-of-1"
    array = np.load(files / "gt.npy", mmap_mode="r+")
    array[4] ^= 1
    marks = np.load(files / "marks.npy", mmap_mode="r+")
    marks[1] = EMPTY
    array.flush()
    marks.flush()
    again = taken(open_some(tmp_path / "in", pool, teacher=teacher), 4)
    assert teacher.pictures == 6 + 2
    for one, other in zip(whole, again, strict=True):
        assert_same(one, other)


def test_a_pool_made_with_other_settings_is_refused(tmp_path: Path) -> None:
    some_pictures(tmp_path / "in")
    pool = {"size": 2, "fresh": 0, "folder": str(tmp_path / "pool")}
    taken(open_some(tmp_path / "in", pool), 1)
    with pytest.raises(ConfigError, match="crop was 32, now 64"):
        taken(open_some(tmp_path / "in", pool, fields={"crop": 64}), 1)
    some_pictures(tmp_path / "in", 5)
    with pytest.raises(ConfigError, match="files was 4 pictures"):
        taken(open_some(tmp_path / "in", pool), 1)


def test_two_trainings_do_not_share_a_changing_pool(tmp_path: Path) -> None:
    some_pictures(tmp_path / "in")
    pool = {"size": 3, "fresh": 1, "folder": str(tmp_path / "pool")}
    with open_some(tmp_path / "in", pool) as one, open_some(tmp_path / "in", pool) as other:
        for batches in (one, other, one, one):
            next(batches)
        with pytest.raises(StageFailed, match="another training"):
            next(other)


def test_mistakes_are_config_errors(tmp_path: Path) -> None:
    some_pictures(tmp_path)
    for fields, pool in (({"crop": 33}, None), ({"patch": 9}, None), ({}, {"size": 2, "fresh": 3})):
        with pytest.raises(ConfigError):
            open_some(tmp_path, pool, fields=fields)


def test_paired_data_need_no_recipe(tmp_path: Path) -> None:
    large = gradient(96, 96)
    write(tmp_path / "hr" / "one.png", large)
    write(tmp_path / "lr" / "one.png", large[::4, ::4])
    fields = {"lr": str(tmp_path / "lr"), "recipe": "no such recipe"}
    (batch,) = taken(open_some(tmp_path / "hr", fields=fields), 1)
    assert batch.lr_N3hw.shape == (3, 3, 8, 8)
    with pytest.raises(ConfigError, match="x4 pairs, the model is x2"):
        taken(open_some(tmp_path / "hr", fields=fields, scale=2), 1)
