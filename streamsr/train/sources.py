"""What there is to learn from: the files of a config in groups, without the held-out ones."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamsr.errors import ConfigError, SourceError
from streamsr.listing import files_under
from streamsr.train.data_config import DataConfig
from streamsr.train.pictures import PICTURE_SUFFIXES

CLIP_SUFFIXES = frozenset(
    (
        *(".avi", ".flv", ".ivf", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut"),
        *(".ogv", ".ts", ".webm", ".wmv", ".y4m"),
    )
)
Notice = Callable[[str], None]
"""Takes one line for people."""


@dataclass(frozen=True, slots=True)
class Item:
    """What a crop can be cut from: a picture, or the pictures of a clip from number `start` on (None: a picture).

    `lr` is the low-resolution half of paired data."""

    path: Path
    start: int | None = None
    lr: Path | None = None

    @property
    def name(self) -> str:
        return self.path.name if self.start is None else f"{self.path.name} #{self.start}"


@dataclass(frozen=True, slots=True)
class Group:
    """Items that share a weight; within a group all are alike."""

    name: str
    share: float
    items: tuple[Item, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Names, with or without ending, and of clips the numbers of the pictures that are judged."""

    names: frozenset[str] = frozenset()
    clips: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def has(self, path: Path) -> bool:
        names = self.names | {name for name, _ in self.clips}
        return path.name in names or path.stem in names


def read_held_out(path: str) -> HeldOut:
    """The list of a TOML file: `names = [...]` and, if there is one, a table `[clips]` of file name = [numbers].

    An empty path means that nothing is held out. Raises ConfigError."""
    if not path:
        return HeldOut()
    try:
        tree: dict[str, Any] = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigError("cannot read the hold-out list", where=path, remedy=error.strerror or "") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid TOML: {error}", where=path) from error
    names, clips = tree.pop("names", []), tree.pop("clips", {})
    is_right = isinstance(names, list) and all(isinstance(name, str) for name in names) and isinstance(clips, dict)
    if tree or not is_right or not all(_are_numbers(numbers) for numbers in clips.values()):
        raise ConfigError("not a hold-out list", where=path, remedy='It holds names = ["..."] and [clips] "..." = [1].')
    return HeldOut(frozenset(names), tuple((name, tuple(sorted(numbers))) for name, numbers in clips.items()))


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, int) and value >= 0 for value in values)


def find_sources(cfg: DataConfig, notice: Notice) -> tuple[Group, ...]:
    """The groups of a config in its order, their items sorted by path. A clip that cannot be read is named and left
    out.

    Raises ConfigError for a place that does not exist or holds nothing, and for a share of no group."""
    held_out, groups = read_held_out(cfg.held_out), []
    for entry in cfg.pictures:
        paths = [path for path in _files(entry, PICTURE_SUFFIXES) if not held_out.has(path)]
        groups.append(_group(entry, cfg, tuple(_picture_items(paths, Path(entry), cfg.lr))))
    for entry in cfg.clips:
        paths = [path for path in _files(entry, CLIP_SUFFIXES) if not held_out.has(path)]
        groups.append(_group(entry, cfg, tuple(item for path in paths for item in _clip_items(path, cfg, notice))))
    known = {name for entry in (*cfg.pictures, *cfg.clips) for name in (entry, Path(entry).name)}
    for name in cfg.shares:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(known))}."
            raise ConfigError(f"no pictures or clips are called {name!r}", where="data.shares", remedy=hint)
    if not any(group.share for group in groups):
        raise ConfigError("there is nothing to learn from", where="data", remedy="Name folders in data.pictures.")
    return tuple(groups)


def _files(entry: str, suffixes: frozenset[str]) -> list[Path]:
    place = Path(entry)
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise ConfigError("no such folder or file", where=entry, remedy="Check data.pictures and data.clips.")
    return files_under(place, suffixes)


def _group(entry: str, cfg: DataConfig, items: tuple[Item, ...]) -> Group:
    if not items:
        raise ConfigError("nothing here to learn from", where=entry, remedy="Check the files and the hold-out list.")
    name = Path(entry).name
    return Group(entry, cfg.shares.get(entry, cfg.shares.get(name, 1.0)), items)


def _picture_items(paths: list[Path], folder: Path, lr: str) -> Iterator[Item]:
    """With a folder of low-resolution halves: those of the same relative path, whatever their ending."""
    if not lr:
        yield from (Item(path) for path in paths)
        return
    halves = {path.relative_to(lr).with_suffix(""): path for path in _files(lr, PICTURE_SUFFIXES)}
    for path in paths:
        inside = path.relative_to(folder).with_suffix("") if folder.is_dir() else Path(path.stem)
        if inside not in halves:
            raise ConfigError(f"no low-resolution picture for {inside}", where=lr, remedy="Pairs have the same names.")
        yield Item(path, lr=halves[inside])


def _clip_items(path: Path, cfg: DataConfig, notice: Notice) -> Iterator[Item]:
    from streamsr.media.stills import clip_length  # FFmpeg is loaded only where there are clips

    try:
        length = clip_length(path)
    except SourceError as error:
        notice(f"skipped {path.name}: {error}")
        return
    yield from (Item(path, start=start) for start in range(0, length - cfg.clip_frames + 1, cfg.clip_every))
