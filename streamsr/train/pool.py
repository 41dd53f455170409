"""A pool of pairs: arrays in memory or in files, drawn from at random, the oldest pair replaced by a new one.

Which pair a slot holds at a step follows from the step alone, so that a training that goes on finds or makes exactly
the pool it was stopped with."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamsr.errors import ConfigError, SinkError, StageFailed
from streamsr.train.pairs import Pair

Pictures = npt.NDArray[np.uint8]
"""NHWC, RGB."""
EMPTY = -1
FLUSH_EVERY = 64
"""Pairs between two syncs of the files; marks are synced after the pictures they vouch for."""


class Pool:
    """Slots for `size` pairs of `lr_side` pixels. With a `folder` its files are mapped: `identity` says what decides
    the pairs, and a folder made for another one is refused with ConfigError. SinkError when there is no room for it."""

    def __init__(
        self,
        size: int,
        lr_side: int,
        scale: int,
        parts: tuple[str, ...],
        folder: Path | None,
        identity: Mapping[str, Any],
    ) -> None:
        self.size, self.folder, self._unsynced = size, folder, 0
        if folder is not None:
            _claim(folder, identity)
        sides = {"lr": lr_side, "gt": lr_side * scale, "sharp": lr_side * scale, "teacher": lr_side * scale}
        self.arrays: dict[str, Pictures] = {
            name: self._array(name, (size, sides[name], sides[name], 3), np.uint8) for name in ("lr", "gt", *parts)
        }
        self.marks: npt.NDArray[np.int64] = self._array("marks", (size, 2), np.int64)
        """Number of the pair in each slot (EMPTY: none or being replaced) and the checksum of its pictures."""

    def _array(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> npt.NDArray[Any]:
        fill = EMPTY if name == "marks" else 0
        if self.folder is None:
            return np.full(shape, fill, dtype) if fill else np.zeros(shape, dtype)
        path = self.folder / f"{name}.npy"
        try:
            if path.exists():
                found = np.lib.format.open_memmap(path, mode="r+")
                if found.shape == shape and found.dtype == dtype:
                    return found
            unborn = path.with_suffix(".new")
            made = np.lib.format.open_memmap(unborn, mode="w+", dtype=dtype, shape=shape)
            if fill:
                made[...] = fill
            made.flush()
            unborn.replace(path)
        except (OSError, ValueError) as error:
            raise SinkError(f"cannot use the pool: {error}", where=str(path), remedy="Give another folder.") from error
        return made

    def missing(self, numbers: npt.NDArray[np.int64]) -> list[int]:
        """The slots that do not hold the pair of this number, or hold it damaged; ascending by number."""
        bad = [
            slot
            for slot in range(self.size)
            if self.marks[slot, 0] != numbers[slot] or self.marks[slot, 1] != self._checksum(slot)
        ]
        return sorted(bad, key=lambda slot: int(numbers[slot]))

    def put(self, slot: int, pair: Pair) -> None:
        self.marks[slot, 0] = EMPTY
        given = {"lr": pair.lr_3hw, "gt": pair.gt_3HW, "sharp": pair.sharp_3HW, "teacher": pair.teacher_3HW}
        for name, array in self.arrays.items():
            picture = given[name]
            assert picture is not None, f"the pool wants {name}"
            array[slot] = picture.permute(1, 2, 0).numpy()
        self.marks[slot] = (pair.number, self._checksum(slot))
        self._unsynced += 1
        if self._unsynced >= FLUSH_EVERY:
            self.sync()

    def sync(self) -> None:
        """Files: what was put is on disk when this returns."""
        self._unsynced = 0
        for array in (*self.arrays.values(), self.marks):
            if isinstance(array, np.memmap):
                array.flush()

    def check(self, slots: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]) -> None:
        """Raises StageFailed when somebody else has changed these slots."""
        if (self.marks[slots, 0] != numbers).any():
            raise StageFailed(
                f"another training changes the pool {self.folder}",
                stage="pool",
                remedy="Give each its own pool.folder; only pools with fresh = 0 can be shared.",
            )

    def _checksum(self, slot: int) -> int:
        value = 0
        for array in self.arrays.values():
            value = zlib.crc32(array[slot].data, value)
        return value


def _claim(folder: Path, identity: Mapping[str, Any]) -> None:
    """Writes who the pool is for, or compares. Raises ConfigError with the first difference, SinkError."""
    card = folder / "pool.json"
    wanted = json.loads(json.dumps(identity))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not card.exists():
            unborn = card.with_suffix(".new")
            unborn.write_text(json.dumps(wanted, indent=1), "utf-8")
            unborn.replace(card)
            return
        found = json.loads(card.read_text("utf-8"))
    except OSError as error:
        raise SinkError("cannot use the pool", where=str(folder), remedy=error.strerror or "") from error
    except ValueError as error:
        raise ConfigError("the pool's card is damaged", where=str(card), remedy="Remove the folder.") from error
    if difference := differing(found, wanted):
        raise ConfigError(
            f"the pool was made with other settings: {difference}",
            where=str(folder),
            remedy="Remove the folder or give another pool.folder.",
        )


def differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first key on which two identities differ, with both values, or ""."""
    for key in wanted:
        if found.get(key) != wanted[key]:
            return f"{key} was {_short(found.get(key))}, now {_short(wanted[key])}"
    return ""


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
