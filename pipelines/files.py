"""Which file becomes which: inputs and OUTPUT as the user wrote them -> pairs of source and target."""

from __future__ import annotations

import difflib
from pathlib import Path

from streamsr.errors import ConfigError, SinkError, SourceError

_VIDEO_SUFFIXES = """
    .3g2 .3gp .asf .avi .divx .dv .f4v .flv .gif .h264 .h265 .hevc .ivf .m1v .m2t .m2ts .m2v .m4v .mj2 .mjpeg .mjpg
    .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .obu .ogm .ogv .rm .rmvb .ts .vob .webm .wmv .y4m
"""
VIDEO_SUFFIXES = frozenset(_VIDEO_SUFFIXES.split())
KEPT_SUFFIXES = frozenset({".mkv", ".mp4", ".mov", ".webm"})


def plan_files(inputs: tuple[str, ...], output: str) -> list[tuple[Path, Path]]:
    """(source, target) of every file to upscale, in order. Looks, creates nothing.

    One file: OUTPUT is the target, or an existing folder (or a name that ends in a slash) to put it in. Several files
    or a folder: OUTPUT is a folder, existing or not. Of a folder its videos are taken, sorted by name, not those of
    its sub-folders. In a folder a target keeps the source's name, and its type where that is mkv, mp4, mov or webm;
    others become mkv.

    Raises SourceError for what is not there, ConfigError for an OUTPUT that cannot be meant."""
    sources = [file for text in inputs for file in _videos_of(Path(text))]
    target = Path(output)
    is_folder = target.is_dir() or output.endswith(("/", "\\"))
    if len(inputs) == 1 and not Path(inputs[0]).is_dir() and not is_folder:
        if not target.suffix:
            raise ConfigError(
                "OUTPUT has no file type", where=output, remedy=f"Write {output}.mp4, or {output}/ for a folder."
            )
        pairs = [(sources[0], target)]
    else:
        if not is_folder and (target.exists() or target.suffix.lower() in VIDEO_SUFFIXES):
            raise ConfigError(
                "several inputs cannot become one file", where=output, remedy="Give a folder as the last argument."
            )
        pairs = [(source, target / _name_in_folder(source)) for source in sources]
    _check_distinct(pairs)
    return pairs


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raises SinkError when `target` exists and may not be replaced, or can never be written."""
    if target.is_dir():
        raise SinkError("the target is a folder", where=str(target), remedy="Move it away or choose another OUTPUT.")
    if target.exists() and not overwrite:
        raise SinkError(
            "the target exists", where=str(target), remedy="Add --overwrite to replace it, or choose another name."
        )


def _videos_of(path: Path) -> list[Path]:
    """The file itself, or the videos of a folder. Raises SourceError when there are none."""
    try:
        if path.is_dir():
            videos = [file for file in path.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file()]
            visible = sorted(file for file in videos if not file.name.startswith("."))
            if not visible:
                raise SourceError("no video in this folder", where=str(path), remedy="Sub-folders are not searched.")
            return visible
        path.stat()
    except FileNotFoundError as error:
        raise SourceError("no such file or folder", where=str(path), remedy=_nearest(path)) from error
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"cannot read: {error.strerror}", where=str(path)) from error
    return [path]


def _nearest(path: Path) -> str:
    """A remedy for a path that does not exist: a name like it beside it, or the folder that is missing."""
    if not path.parent.is_dir():
        return f"The folder {path.parent} does not exist."
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return "Check the path."
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"Did you mean {path.parent / near[0]}?" if near else "Check the path."


def _name_in_folder(source: Path) -> str:
    return source.name if source.suffix.lower() in KEPT_SUFFIXES else f"{source.stem}.mkv"


def _check_distinct(pairs: list[tuple[Path, Path]]) -> None:
    """Raises ConfigError when a target is one of the sources, or two sources would become the same target."""
    sources = {source.resolve() for source, _ in pairs}
    seen: dict[Path, Path] = {}
    for source, target in pairs:
        real = target.resolve()
        if real in sources:
            raise ConfigError("OUTPUT would replace an input", where=str(target), remedy="Choose another OUTPUT.")
        if real in seen:
            raise ConfigError(
                f"{seen[real]} and {source} would become the same file",
                where=str(target),
                remedy="Upscale them into different folders.",
            )
        seen[real] = source
