"""What networks are judged by: original pictures and the small ones that are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from streamsr.errors import ConfigError, SourceError
from streamsr.listing import files_under
from streamsr.train.pairs import mixed, to_bytes
from streamsr.train.pictures import PICTURE_SUFFIXES, Frames, Picture, read_still, resize_area, shrink
from streamsr.train.sources import CLIP_SUFFIXES, HeldOut, Notice, read_held_out

if TYPE_CHECKING:
    from streamsr.degrade.recipe import Recipe

Smaller = Literal["area", "bicubic"]
"""Filters of a plain reduction; bicubic is antialiased, as MATLAB's."""
CLIP_FRAMES = 5
"""Pictures that a video recipe gets of a clip; the last is judged."""
STILL_FRAMES = 12
"""Pictures of a clip that flicker is measured on."""
CLIP_PLACES = (1 / 6, 1 / 2, 5 / 6)
"""Of a clip of no list: the pictures at these parts of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """uint8, H = scale * h. `group`: the name of the folder, "film" for pictures of clips."""

    group: str
    name: str
    lr_3hw: Tensor = field(repr=False)
    gt_3HW: Tensor = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseConfig:
    """How cases are made of files. Every case is a function of its file and `seed`."""

    scale: int
    held_out: str = ""
    """TOML list (sources.read_held_out): only what it names is judged; "" all."""
    recipe: str = ""
    """Degradation by name or path; "" a plain reduction by `smaller`."""
    smaller: Smaller = "area"
    jpeg: int = 0
    """After a plain reduction: quality 1..100; 0 none."""
    max_side: int = 0
    """Larger originals are reduced by area; 0 never."""
    crop: int = 0
    """Side of the centre part that is used; 0 all."""
    count: int = 0
    """At most so many, evenly chosen; 0 all."""
    seed: int = 0
    lr: str = ""
    """Paired data: folder of the small pictures, by the same names; nothing is made smaller then."""


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    picture: int | None
    """Number in a clip; None: a still."""

    @property
    def name(self) -> str:
        return self.path.stem if self.picture is None else f"{self.path.name} #{self.picture}"

    @property
    def group(self) -> str:
        return self.path.parent.name if self.picture is None else "film"


def read_cases(places: Sequence[str], cfg: CaseConfig, notice: Notice) -> Iterator[Case]:
    """The cases of these files and folders, one at a time; files that cannot be read are named and left out.

    Raises ConfigError where a place does not exist or none has anything to judge by."""
    recipe = None
    if cfg.recipe:
        from streamsr.degrade.recipe import load_recipe

        recipe = load_recipe(cfg.recipe)
    halves = _halves(cfg.lr) if cfg.lr else {}
    files = _find(places, read_held_out(cfg.held_out), notice)
    if not files:
        raise ConfigError("nothing to judge by", where=", ".join(places), remedy="Check the folders and the list.")
    if cfg.count and cfg.count < len(files):
        files = [files[index * len(files) // cfg.count] for index in range(cfg.count)]
    for number, file in enumerate(files):
        try:
            if cfg.lr:
                yield _paired_case(file, cfg, halves)
                continue
            frames = _originals(file, cfg, CLIP_FRAMES if recipe is not None and recipe.video is not None else 1)
        except SourceError as error:
            notice(f"skipped {file.name}: {error}")
            continue
        if min(frames.shape[1:3]) < 16 * cfg.scale:
            notice(f"skipped {file.name}: {frames.shape[2]}x{frames.shape[1]} is too small")
            continue
        yield _case(file, frames, cfg, recipe, mixed(cfg.seed, number))


def _find(places: Sequence[str], held_out: HeldOut, notice: Notice) -> list[_File]:
    files, is_list, numbers = [], bool(held_out.names or held_out.clips), dict(held_out.clips)
    for place in map(Path, places):
        if not place.exists():
            raise ConfigError("no such folder or file", where=str(place))
        paths = [place] if place.is_file() else files_under(place)
        for path in paths:
            if is_list and not held_out.has(path):
                continue
            if path.suffix.lower() in CLIP_SUFFIXES:
                files += [_File(path, number) for number in numbers.get(path.name) or _places_of(path, notice)]
            elif path.suffix.lower() in PICTURE_SUFFIXES:
                files.append(_File(path, None))
    return files


def _places_of(path: Path, notice: Notice) -> list[int]:
    from streamsr.media.stills import clip_length

    try:
        length = clip_length(path)
    except SourceError as error:
        notice(f"skipped {path.name}: {error}")
        return []
    return sorted({int(part * length) for part in CLIP_PLACES})


def _originals(file: _File, cfg: CaseConfig, count: int) -> Frames:
    """The picture, of a clip with those before it: reduced, its sides multiples of the scale, the centre part."""
    if file.picture is None:
        frames = read_still(file.path)[None]
    else:
        from streamsr.media.stills import read_clip

        first = max(0, file.picture - count + 1)
        frames = np.stack(read_clip(file.path, first, file.picture - first + 1))
    if cfg.max_side:
        frames = np.stack([shrink(frame, cfg.max_side / max(frame.shape[:2])) for frame in frames])
    height, width = ((min(side, cfg.crop or side)) // cfg.scale * cfg.scale for side in frames.shape[1:3])
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    return frames[:, top : top + height, left : left + width]


def _halves(folder: str) -> dict[str, Path]:
    """The pictures of a folder by their name without ending."""
    if not Path(folder).is_dir():
        raise ConfigError("no such folder", where=folder, remedy="It holds the small pictures, named as the originals.")
    return {path.stem: path for path in files_under(Path(folder), PICTURE_SUFFIXES)}


def _paired_case(file: _File, cfg: CaseConfig, halves: dict[str, Path]) -> Case:
    """Raises SourceError where there is no half, or it is not 1/scale of the original."""
    if file.picture is not None or file.path.stem not in halves:
        raise SourceError("has no small picture of the same name", where=cfg.lr)
    gt, lr = read_still(file.path), read_still(halves[file.path.stem])
    if gt.shape[:2] != (lr.shape[0] * cfg.scale, lr.shape[1] * cfg.scale):
        sizes = f"{gt.shape[1]}x{gt.shape[0]} and {lr.shape[1]}x{lr.shape[0]}"
        raise SourceError(f"{sizes} are no pair for x{cfg.scale}", where=str(file.path))
    return Case(file.group, file.name, *(torch.from_numpy(_chw(picture)) for picture in (lr, gt)))


def _chw(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


def read_small_clip(path: Path, scale: int) -> Tensor:
    """STILL_FRAMES successive pictures from the middle of a clip, smaller by area: T3hw uint8. Raises SourceError."""
    from streamsr.media.stills import clip_length, read_clip

    length = clip_length(path)
    count = min(STILL_FRAMES, length)
    frames = read_clip(path, (length - count) // 2, count)
    height, width = (side // scale * scale for side in frames[0].shape[:2])
    small = [plainly_smaller(frame[:height, :width], scale, "area") for frame in frames]
    return torch.from_numpy(np.stack([_chw(picture) for picture in small]))


def _case(file: _File, frames: Frames, cfg: CaseConfig, recipe: Recipe | None, seed: int) -> Case:
    gt_T3HW = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
    if recipe is None:
        small = plainly_smaller(frames[-1], cfg.scale, cfg.smaller, cfg.jpeg)
        return Case(file.group, file.name, torch.from_numpy(_chw(small)), gt_T3HW[-1])
    from streamsr.degrade.process import degrade  # needs basicsr

    made = degrade(gt_T3HW.float().div_(255), recipe, cfg.scale, seed)
    return Case(file.group, file.name, to_bytes(made.lr_T3hw[-1]), to_bytes(made.gt_T3HW[-1]))


def plainly_smaller(picture: Picture, scale: int, smaller: Smaller, jpeg: int = 0) -> Picture:
    """1/scale of the size (a multiple of the scale), after a JPEG of this quality unless it is 0."""
    height, width = picture.shape[0] // scale, picture.shape[1] // scale
    if smaller == "area":
        small = resize_area(picture, height, width)
    else:
        planes = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
        planes = F.interpolate(planes, (height, width), mode="bicubic", antialias=True)
        small = planes[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    if not jpeg:
        return small
    coded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, jpeg])[1]
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None, "OpenCV reads what it wrote"
    return np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)
