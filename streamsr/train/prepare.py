"""A folder of large pictures made ready for training: every picture at several scales, and cut into parts.

The scales and the shortest edge are those of upstream's generate_multiscale_DF2K.py, the cutting that of its
extract_subimages.py; reduced is by area, which does not ring. Files are written under temporary names and renamed. A
hidden mark beside them tells that a picture is finished, so that a run that was stopped goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from streamsr.errors import ConfigError, SinkError, SourceError
from streamsr.listing import files_under
from streamsr.train.pictures import PICTURE_SUFFIXES, Picture, read_still, resize_area

PNG_COMPRESSION = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparation:
    """How pictures are made ready."""

    scales: tuple[float, ...] = (1.0, 0.75, 0.5, 1 / 3)
    """Sizes of each picture, of its own."""
    shortest_edge: int = 400
    """Each picture is also made so small that this is its smaller side; no other scale goes below it. 0: neither."""
    part: int = 0
    """Side of the parts that pictures are cut into; 0: they stay whole."""
    step: int = 0
    """Distance between two parts; 0: half of their side."""
    rest: int = 0
    """What is left at the right and lower border becomes a part (moved inwards) if it is wider than this."""

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0 or max(self.scales) > 1:
            raise ConfigError("scales are above 0 and at most 1", where=f"scales {self.scales}")
        if min(self.shortest_edge, self.part, self.step, self.rest) < 0:
            raise ConfigError("sides are not negative", where=repr(self))
        if self.step and not self.part:
            raise ConfigError("a step without parts", remedy="Give the side of the parts, too.")


@dataclass(frozen=True, slots=True)
class Prepared:
    """One picture of the input. `files`: how many were written; 0 with `skipped` "" means finished before."""

    path: Path
    files: int
    skipped: str = ""


def prepare(source: Path, target: Path, how: Preparation) -> Iterator[Prepared]:
    """Every picture of `source` into PNGs in `target`, subfolders kept, in the order of their paths.

    Names: NAME.png at full size, NAME_s075.png at 3/4, NAME_e400.png by the edge, with _p001 and so on for parts.
    Raises ConfigError where there is nothing, where two pictures have one name or `target` was made with other
    settings, and SinkError."""
    if not source.is_dir():
        raise ConfigError("no such folder", where=str(source))
    if target.resolve().is_relative_to(source.resolve()):
        raise ConfigError("the output folder is inside the input", where=str(target), remedy="Choose another.")
    paths = files_under(source, PICTURE_SUFFIXES)
    if not paths:
        raise ConfigError("no pictures here", where=str(source))
    stems: dict[Path, Path] = {}
    for path in paths:
        stem = path.relative_to(source).with_suffix("")
        if stem in stems:
            raise ConfigError(f"{path.name} and {stems[stem].name} would become one file", where=str(path.parent))
        stems[stem] = path
    for stem, path in stems.items():
        mark, words = target / stem.parent / f".{stem.name}.done", _words(path, how)
        found = _read_words(mark)
        if found == words:
            yield Prepared(path, 0)
            continue
        if found and not found.startswith(repr(how)):
            raise ConfigError("was prepared with other settings", where=str(target), remedy="Choose another folder.")
        try:
            picture = read_still(path)
        except SourceError as error:
            yield Prepared(path, 0, str(error))
            continue
        files = 0
        for suffix, part in parts_of(picture, how):
            _write(target / stem.parent / f"{stem.name}{suffix}.png", _png(part))
            files += 1
        _write(mark, words.encode())
        yield Prepared(path, files)


def parts_of(picture: Picture, how: Preparation) -> Iterator[tuple[str, Picture]]:
    """(suffix of the name, picture) of all scales and parts."""
    for suffix, (height, width) in sizes_of(picture.shape[0], picture.shape[1], how).items():
        whole = picture if (height, width) == picture.shape[:2] else resize_area(picture, height, width)
        if not how.part:
            yield suffix, whole
            continue
        tops, lefts = (cuts_of(side, how) for side in (height, width))
        for number, (top, left) in enumerate(((y, x) for y in tops for x in lefts), start=1):
            yield f"{suffix}_p{number:03d}", whole[top : top + how.part, left : left + how.part]


def sizes_of(height: int, width: int, how: Preparation) -> dict[str, tuple[int, int]]:
    """Suffix -> (height, width), without doubles; the full size is always there if it is asked for."""
    sizes: dict[str, tuple[int, int]] = {}
    for scale in how.scales:
        size = (int(height * scale), int(width * scale))
        if scale == 1 or min(size) >= max(1, how.shortest_edge):
            sizes["" if scale == 1 else f"_s{round(scale * 100):03d}"] = size
    edge = how.shortest_edge
    if edge and min(height, width) > edge:
        factor = edge / min(height, width)
        size = (edge, round(width * factor)) if height < width else (round(height * factor), edge)
        if size not in sizes.values():
            sizes[f"_e{edge}"] = size
    return sizes


def cuts_of(side: int, how: Preparation) -> list[int]:
    """Where the parts begin along a side; nothing where it is shorter than a part."""
    if side < how.part:
        return []
    step = how.step or math.ceil(how.part / 2)
    starts = list(range(0, side - how.part + 1, step))
    if side - (starts[-1] + how.part) > how.rest:
        starts.append(side - how.part)
    return starts


def _words(path: Path, how: Preparation) -> str:
    """What a mark says: how the picture was made ready, and which one it was."""
    status = path.stat()
    return f"{how!r} of {status.st_size} bytes, {status.st_mtime_ns}"


def _read_words(mark: Path) -> str:
    try:
        return mark.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _png(picture: Picture) -> bytes:
    values = np.ascontiguousarray(picture[..., ::-1])
    return cv2.imencode(".png", values, [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION])[1].tobytes()


def _write(path: Path, data: bytes) -> None:
    unborn = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unborn.write_bytes(data)
        unborn.replace(path)
    except OSError as error:
        unborn.unlink(missing_ok=True)
        raise SinkError("cannot write", where=str(path), remedy=error.strerror or "") from error
