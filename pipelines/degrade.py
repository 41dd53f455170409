"""Degrade a picture, a clip, or a folder of both, to be looked at or to train with."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.files import VIDEO_SUFFIXES
from streamsr.config import SourceConfig
from streamsr.degrade.grid import Grid, Rgb
from streamsr.degrade.pictures import PICTURE_SUFFIXES, check_suffix, read_picture, to_rgb, to_tensor, write_picture
from streamsr.degrade.process import degrade
from streamsr.degrade.recipe import Recipe
from streamsr.degrade.steps import Step
from streamsr.errors import ConfigError, SinkError, SourceError
from streamsr.listing import files_under
from streamsr.media.playable import LOSSLESS, PLAYABLE, write_clip
from streamsr.media.source import open_source
from streamsr.media.stills import clip_length, read_clip

PIECE_BYTES, LEAST_PIECE, MOST_PIECE = 256 << 20, 8, 64
"""A clip is degraded in pieces of so many bytes of floats, and of so many pictures."""
USUAL_RATE = Fraction(25)
"""Of clips that do not tell theirs."""
GRID_PICTURES = 8
"""Of a clip's beginning; the grid shows the last of them."""

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class DegradeJob:
    """What is done to every file. `grid`: the steps are drawn instead of the result being written."""

    recipe: Recipe
    recipe_name: str
    scale: int
    seed: int
    grid: bool = False
    overwrite: bool = False

    def title(self, source: Path, seed: int) -> str:
        return f"{source.name}: {self.recipe_name}, scale {self.scale}, seed {seed}"


def plan_pairs(source: Path, target: str, *, grid: bool) -> list[tuple[Path, Path]]:
    """(source, target) of every file. A file becomes `target`, or a file in it if it is a folder; a folder becomes a
    folder of the same tree, pictures as PNG, clips as MKV, grids as PNG, under their names.

    Raises SourceError for what is not there, ConfigError for a target that cannot be meant."""
    out = Path(target)
    if source.is_dir():
        if out.is_file() or out.resolve().is_relative_to(source.resolve()):
            what = "is a file" if out.is_file() else "lies in the folder that is read"
            raise ConfigError(f"OUT {what}", where=target, remedy="Name another folder.")
        files = [file for file in files_under(source) if _is_ours(file) and not file.name.startswith(".")]
        if not files:
            raise SourceError("no picture and no clip in this folder", where=str(source))
        pairs = [(file, out / file.relative_to(source).with_suffix(_suffix(file, grid))) for file in files]
        _check_distinct(pairs)
        return pairs
    if not source.exists():
        raise SourceError("no such file or folder", where=str(source), remedy="Check the path.")
    if out.is_dir() or target.endswith(("/", "\\")):
        out = out / source.with_suffix(_suffix(source, grid)).name
    if grid or not _is_clip(source):
        check_suffix(out)
    elif out.suffix.lower() not in LOSSLESS + PLAYABLE:
        raise ConfigError("a clip becomes a clip", where=target, remedy=f"Write {out.with_suffix('.mkv').name}.")
    return [(source, out)]


def seed_of(job: DegradeJob, source: Path, folder: Path) -> int:
    """The seed of a file: the job's own for a single file; in a folder it is mixed with the file's name, so that files
    differ, and none changes when another comes or goes."""
    if source == folder:
        return job.seed
    name = source.relative_to(folder).as_posix().encode()
    return int(np.random.SeedSequence((job.seed, zlib.crc32(name))).generate_state(1)[0])


def degrade_file(job: DegradeJob, source: Path, target: Path, seed: int, tell: Tell) -> tuple[Step, ...]:
    """Degrade one file and write what comes of it, whole or not at all; `tell` hears what a person may want to know.

    Raises SourceError, SinkError, ConfigError."""
    if target.exists() and not job.overwrite:
        raise SinkError("the output exists", where=str(target), remedy="Use --overwrite to replace it.")
    if job.grid or not _is_clip(source):
        gt = _beginning(source) if _is_clip(source) else read_picture(source)[None]
        rgb, steps = _degrade_pictures(job, source, _cropped(gt, job.scale, source, tell), seed)
        write_picture(target, rgb, source, overwrite=job.overwrite)
        return steps
    found: list[tuple[Step, ...]] = []
    with open_source(source, SourceConfig()) as video:
        rate = video.info.rate or USUAL_RATE
    pictures = _clip_pictures(job, source, seed, tell, found.append)
    write_clip(target, pictures, rate, source=source, overwrite=job.overwrite)
    return found[0]


def _degrade_pictures(job: DegradeJob, source: Path, gt_T3HW: Tensor, seed: int) -> tuple[Rgb, tuple[Step, ...]]:
    """The last picture's result, or its grid."""
    if not job.grid:
        done = degrade(gt_T3HW, job.recipe, job.scale, seed)
        return to_rgb(done.lr_T3hw[-1]), done.steps
    grid = Grid(gt_T3HW[-1], job.scale, job.recipe)
    done = degrade(gt_T3HW, job.recipe, job.scale, seed, grid.on_step)
    return grid.draw(job.title(source, seed), done.lr_T3hw[-1]), done.steps


def _clip_pictures(
    job: DegradeJob, source: Path, seed: int, tell: Tell, on_steps: Callable[[tuple[Step, ...]], None]
) -> Iterator[Rgb]:
    """The degraded pictures of a clip, piece by piece; `on_steps` gets the steps of each piece."""
    length, first = clip_length(source), 0
    count = 1
    while first < length:
        pictures = read_clip(source, first, min(count, length - first))
        if first == 0:
            # The first picture tells how many fit into a piece.
            count = max(LEAST_PIECE, min(MOST_PIECE, PIECE_BYTES // (pictures[0].size * 4)))
            pictures = read_clip(source, 0, min(count, length))
        gt = torch.stack([to_tensor(picture) for picture in pictures])
        done = degrade(
            _cropped(gt, job.scale, source, tell if first == 0 else _hush), job.recipe, job.scale, seed, first=first
        )
        on_steps(done.steps)
        yield from (to_rgb(picture) for picture in done.lr_T3hw)
        first += len(pictures)
        tell(f"{source.name}: {first} of {length} pictures")


def _beginning(clip: Path) -> Tensor:
    pictures = read_clip(clip, 0, min(GRID_PICTURES, clip_length(clip)))
    return torch.stack([to_tensor(picture) for picture in pictures])


def _cropped(gt_T3HW: Tensor, scale: int, source: Path, tell: Tell) -> Tensor:
    """Without the rows below and the columns on the right that make no whole pixel of the result."""
    height, width = gt_T3HW.shape[-2:]
    rows, columns = height // scale * scale, width // scale * scale
    if not rows or not columns:
        raise SourceError(f"{width}x{height} is too small for scale {scale}", where=str(source))
    if (rows, columns) != (height, width):
        tell(f"{source.name}: {columns}x{rows} of {width}x{height} used, the multiple of {scale}")
    return gt_T3HW[..., :rows, :columns]


def _hush(_: str) -> None:
    return None


def _is_clip(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _is_ours(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES and path.is_file()


def _suffix(source: Path, grid: bool) -> str:
    return ".mkv" if _is_clip(source) and not grid else ".png"


def _check_distinct(pairs: list[tuple[Path, Path]]) -> None:
    seen: dict[Path, Path] = {}
    for source, target in pairs:
        if target in seen:
            raise ConfigError(
                f"{seen[target].name} and {source.name} would become the same file",
                where=str(target),
                remedy="Rename one of them.",
            )
        seen[target] = source
