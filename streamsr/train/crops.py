"""Crops: crop k is drawn from the seed and k alone, whoever cuts it and in whatever process.

A draw is made of numbers (which group, which item, where, turned how), not of pixels, so that torch's and DALI's
loaders cut the same places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from streamsr.errors import SourceError
from streamsr.train.data_config import DataConfig
from streamsr.train.pictures import (
    LOSSLESS,
    Frames,
    Picture,
    PictureCache,
    read_still,
    resize_area,
    shrink,
    turned_picture,
)
from streamsr.train.sources import Group, Item, Notice, find_sources

LIVELY_SHARE = 0.8
"""How often the liveliest candidate is taken; always would starve the network of smooth places."""
SMALL_ZOOM = 1.15
"""Below this a crop is cut at its own size: a resampling by so little only blurs."""
MAX_ATTEMPTS = 100
_CROPS = 1  # the stream of random numbers that crops are drawn from; pools draw from others


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """T pictures of one place, uint8 on the CPU. `lr_T3hw`: the small half of paired data. `skipped`: a line for each
    file that was found damaged on the way to this crop."""

    number: int
    name: str
    frames_T3HW: Tensor = field(repr=False)
    lr_T3hw: Tensor | None = field(default=None, repr=False)
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A square of an item: `zoom` times the crop's side, at `top` and `left` of what is free (0..1)."""

    item: Item
    zoom: float
    top: float
    left: float

    def square(self, height: int, width: int, side: int) -> tuple[int, int, int]:
        """(top, left, side) in pixels of a picture that is not smaller than `side`."""
        reach = min(side * self.zoom, height, width)
        span = side if reach < side * SMALL_ZOOM else int(reach)
        return int(self.top * (height - span + 1)), int(self.left * (width - span + 1)), span


@dataclass(frozen=True, slots=True)
class Draw:
    """One crop before any pixel is read: candidates, quarter turns, whether mirrored."""

    number: int
    places: tuple[Place, ...]
    turn: int
    mirror: bool


def draw_crop(groups: Sequence[Group], cfg: DataConfig, seed: int, number: int, attempt: int = 0) -> Draw:
    """A pure function. Another `attempt` is for when an item of the last one turned out to be damaged."""
    rng = np.random.default_rng([seed, _CROPS, number, attempt])
    shares = np.cumsum([group.share for group in groups])
    items = groups[int(np.searchsorted(shares, rng.random() * shares[-1], side="right"))].items
    count = cfg.candidates if cfg.candidates > 1 and rng.random() < LIVELY_SHARE else 1
    places = tuple(
        Place(items[rng.integers(len(items))], rng.uniform(1, cfg.zoom), rng.random(), rng.random())
        for _ in range(count)
    )
    return Draw(number, places, int(rng.integers(4)), bool(rng.integers(2)))


def liveliness(picture: Picture) -> float:
    """How much happens in a picture: the spread of its second differences."""
    return float(cv2.Laplacian(picture, cv2.CV_32F).std())


def turned(frames: Frames, turn: int, mirror: bool) -> Tensor:
    """THWC mirrored left to right, then turned by quarters counter-clockwise -> T3HW."""
    pictures = np.stack([turned_picture(picture, turn, mirror) for picture in frames])
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


class CropSource:
    """Cuts crops of `cfg.crop` pixels. Decoded pictures are kept in at most `cache_bytes`; picklable before use."""

    def __init__(self, groups: Sequence[Group], cfg: DataConfig, seed: int, cache_bytes: int) -> None:
        self.groups, self.cfg, self.seed = groups, cfg, seed
        self.cache = PictureCache(cache_bytes)
        self.damaged: set[Item] = set()

    def crop(self, number: int) -> Crop:
        """Crop `number`; a damaged item is named in it and another draw made. Raises SourceError after many."""
        skipped: list[str] = []
        for attempt in range(MAX_ATTEMPTS):
            draw = draw_crop(self.groups, self.cfg, self.seed, number, attempt)
            if self.damaged.isdisjoint(place.item for place in draw.places):
                try:
                    return self._cut(draw, skipped)
                except _Damaged as error:
                    self.damaged.add(error.item)
                    skipped.append(f"skipped {error.item.name}: {error}")
        raise SourceError(
            f"{len(self.damaged)} pictures are damaged, and hardly any is left",
            where=", ".join(group.name for group in self.groups),
            remedy=f"The last one: {next(iter(self.damaged)).path if self.damaged else 'none'}.",
        )

    def _cut(self, draw: Draw, skipped: list[str]) -> Crop:
        cuts = [self.cut(place) for place in draw.places]
        best = max(range(len(cuts)), key=lambda n: liveliness(cuts[n][0][-1]) if len(cuts) > 1 else 0.0)
        frames, small = cuts[best]
        return Crop(
            draw.number,
            draw.places[best].item.name,
            turned(frames, draw.turn, draw.mirror),
            None if small is None else turned(small, draw.turn, draw.mirror),
            tuple(skipped),
        )

    def cut(self, place: Place) -> tuple[Frames, Frames | None]:
        """The square of a place, THWC with the crop's side, and its small half where data are paired."""
        side = self.cfg.crop
        frames = self._frames(place.item)
        if place.item.lr is not None:
            return self._cut_paired(place, frames)
        frames = at_least(frames, side)
        top, left, span = place.square(frames.shape[1], frames.shape[2], side)
        cut = frames[:, top : top + span, left : left + span]
        return cut if span == side else np.stack([resize_area(picture, side, side) for picture in cut]), None

    def _cut_paired(self, place: Place, frames: Frames) -> tuple[Frames, Frames]:
        """The same square of both halves: drawn on the small one, whose pixels are `scale` large ones."""
        assert place.item.lr is not None
        small = self._read(place.item, place.item.lr)
        size, small_size = frames.shape[1:3], small.shape[1:3]
        scale = size[0] // small_size[0]
        if size != (small_size[0] * scale, small_size[1] * scale) or not scale:
            raise _Damaged(place.item, SourceError(f"{size} is no multiple of {small_size}"))
        side = self.cfg.crop // scale
        small, frames = at_least(small, side), at_least(frames, side * scale)
        top, left, _ = place.square(small.shape[1], small.shape[2], side)
        large = frames[:, top * scale : (top + side) * scale, left * scale : (left + side) * scale]
        return large, small[:, top : top + side, left : left + side]

    def _frames(self, item: Item) -> Frames:
        """All pictures of an item, reduced as the config says; from memory where they were read before."""
        if item.start is None:
            return self._read(item, item.path)
        return self.cache.get(item, lambda: self._read_clip(item))

    def _read(self, item: Item, path: Path) -> Frames:
        def read() -> Frames:
            try:
                picture = read_still(path)
            except SourceError as error:
                raise _Damaged(item, error) from error
            limit = self.limit(path)
            return (shrink(picture, limit / max(picture.shape[:2])) if limit else picture)[None]

        return self.cache.get(path, read)

    def limit(self, path: Path) -> int:
        """The longest side that a picture of this file may have; 0: any."""
        is_lossy = path.suffix.lower() not in LOSSLESS
        return (self.cfg.max_side_lossy if is_lossy else 0) or self.cfg.max_side

    def _read_clip(self, item: Item) -> Frames:
        from streamsr.media.stills import read_clip  # FFmpeg is loaded only where there are clips

        count = self.cfg.clip_frames
        try:
            frames = read_clip(item.path, item.start or 0, count, 1)
        except SourceError as error:
            raise _Damaged(item, error) from error
        if len(frames) != count:
            raise _Damaged(item, SourceError(f"{len(frames)} of {count} pictures could be read"))
        return np.stack([shrink(frame, self.cfg.reduce) for frame in frames])


class _Damaged(Exception):
    """An item that cannot be used, and why."""

    def __init__(self, item: Item, reason: SourceError) -> None:
        super().__init__(str(reason))
        self.item = item


def at_least(frames: Frames, side: int) -> Frames:
    """Mirrored at its lower and right border where it is smaller than a crop, as upstream does."""
    below, right = max(0, side - frames.shape[1]), max(0, side - frames.shape[2])
    if not (below or right):
        return frames
    border = ((0, 0), (0, below), (0, right), (0, 0))
    return np.pad(frames, border, mode="reflect") if min(frames.shape[1:3]) > 1 else np.pad(frames, border, mode="edge")


def open_crops(cfg: DataConfig, seed: int, notice: Notice) -> CropSource:
    """The crops of a config, cut in this process. Raises ConfigError, see `find_sources`."""
    return CropSource(find_sources(cfg, notice), cfg, seed, cfg.cache_mb * 2**20)
