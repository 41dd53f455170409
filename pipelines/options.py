"""The command line's options as a table: each one sets a key of streamsr/config.py and takes its help from there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import click
from pydantic import BaseModel

from pipelines.presets import find_config, preset_names
from streamsr.config import (
    Codec,
    JobConfig,
    Precision,
    Progress,
    choices,
    config_keys,
    load_config,
    parse_size,
    parse_time,
)


def checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """A click type: text that `parse` accepts (it raises ValueError otherwise). The text itself is handed on."""

    def convert(text: str) -> str:
        try:
            parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
        return text

    return convert


def device(text: str) -> str:
    """A click type: a device, or GPU numbers as the Real-ESRGAN scripts take them: "0,1" means "cuda:0,1"."""
    words = text.replace(" ", "").lower()
    return f"cuda:{words}" if all(part.isdigit() for part in words.split(",")) else words


def gpu_numbers(text: str) -> str:
    """A click type: numbers of GPUs, as "0,1,3"; spaces are dropped."""
    words = text.replace(" ", "").removeprefix("cuda:")
    if not words or not all(part.isdigit() for part in words.split(",")):
        raise click.BadParameter(f"{text!r} is not a list of GPU numbers; write 0,1,3")
    return words


def parse_length(text: str) -> float:
    """Seconds from "10s", "10" or "1:30". Raises ValueError."""
    seconds = parse_time(text.strip().removesuffix("s"))
    if seconds <= 0:
        raise ValueError("a chunk has to be longer than nothing")
    return seconds


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its spellings, the config key it sets, and how its value reads."""

    group: str
    flags: tuple[str, ...]
    key: str
    type: Any = None
    metavar: str | None = None
    is_switch: bool = False
    words: str = ""
    config: type[BaseModel] = JobConfig

    @property
    def help(self) -> str:
        """`words`, else the key's own documentation, and the default that a job has without the option."""
        section, name = self.key.split(".")
        default = getattr(getattr(self.config(), section), name)
        shown = "" if default in (None, "") or self.is_switch else f"  [default: {default}]"
        return (self.words or config_keys(self.config)[self.key]) + shown


_TIME, _SIZE = checked(parse_time), checked(parse_size)
_WORDS = {name: click.Choice(choices(alias)) for name, alias in (("codec", Codec), ("precision", Precision))}

UPSCALE = (
    Option("Picture", ("--model", "-n"), "upscale.model", metavar="NAME|PATH"),
    Option("Picture", ("--to",), "upscale.to", _SIZE, "SIZE"),
    Option("Picture", ("--scale", "-s"), "upscale.scale", click.FloatRange(0, 16, min_open=True), "FACTOR"),
    Option("Picture", ("--denoise", "-dn"), "upscale.denoise", click.FloatRange(0, 1), "0..1"),
    Option(
        "Picture",
        ("--deinterlace/--no-deinterlace",),
        "source.deinterlace",
        is_switch=True,
        words="Always or never; without it: what is marked as interlaced.",
    ),
    Option("Range", ("--start",), "source.start_s", _TIME, "TIME"),
    Option("Range", ("--duration",), "source.duration_s", _TIME, "TIME"),
    Option("Encoding", ("--codec",), "encode.codec", _WORDS["codec"]),
    Option("Encoding", ("--quality",), "encode.quality", click.IntRange(0, 100), "0..100"),
    Option("Encoding", ("--preset",), "encode.preset", metavar="NAME"),
    Option("Encoding", ("--encoder",), "encode.encoder", metavar="NAME"),
    Option("Encoding", ("--pix-fmt",), "encode.pix_fmt", metavar="NAME"),
    Option("Speed and memory", ("--device", "-g"), "upscale.device", device, "DEVICE"),
    Option("Speed and memory", ("--precision",), "upscale.precision", _WORDS["precision"]),
    Option("Speed and memory", ("--batch",), "upscale.batch", click.IntRange(0, 256), "NUMBER"),
    Option("Speed and memory", ("--tile", "-t"), "upscale.tile", click.IntRange(0), "PIXELS"),
    Option("Input and sound", ("--decoder",), "source.decoder", click.Choice(("auto", "cpu", "nvdec", "dali"))),
    Option("Input and sound", ("--audio",), "output.audio", click.Choice(("copy", "transcode", "none"))),
    Option("Job", ("--overwrite",), "output.overwrite", is_switch=True),
    Option("Job", ("--report",), "output.report", metavar="FILE.json"),
    Option("Job", ("--progress",), "run.progress", click.Choice(choices(Progress))),
    Option("Job", ("--debug",), "run.debug", is_switch=True),
)
BENCH = tuple(
    option
    for option in UPSCALE
    if option.key.split(".")[1]
    in ("model", "to", "scale", "codec", "preset", "encoder", "device", "precision", "batch", "tile")
)
CHUNKED = (
    *UPSCALE,
    Option("Chunks", ("--chunk",), "chunks.chunk_s", checked(parse_length), "TIME"),
    Option("Chunks", ("--gpus",), "chunks.gpus", gpu_numbers, "0,1,.."),
    Option("Chunks", ("--workers-per-gpu",), "chunks.workers_per_gpu", click.IntRange(0, 64), "NUMBER"),
    Option("Chunks", ("--scenes",), "chunks.scenes", is_switch=True),
    Option("Chunks", ("--work-dir",), "chunks.work_dir", metavar="DIR"),
    Option(
        "Chunks",
        ("--resume/--fresh",),
        "chunks.resume",
        is_switch=True,
        words="Only go on with earlier work, or begin anew; without it: goes on where the work folder fits.",
    ),
    Option("Chunks", ("--ray",), "chunks.ray", metavar="ADDRESS"),
    Option("Chunks", ("--transport",), "chunks.transport", click.Choice(("shared", "objects"))),
)

TABLES = {"upscale": UPSCALE, "bench": BENCH, "chunked": CHUNKED, "none": ()}


def click_options(table: str) -> dict[str, list[click.Option]]:
    """Heading -> options of TABLES[table]: see `under_headings`."""
    return under_headings(TABLES[table], preset_names(), "run.patience_s=120")


def under_headings(options: Iterable[Option], presets: Iterable[str], example: str) -> dict[str, list[click.Option]]:
    """Heading -> `options` and `--config` and `--set`, in order. A command gets each value under its key with "__" for
    the dot (None where not given), and `preset` and `assignments`."""
    groups: dict[str, list[click.Option]] = {}
    for option in options:
        name = option.key.replace(".", "__")
        flags = [*option.flags, name]
        switch = {"is_flag": True} if option.is_switch else {"type": option.type, "metavar": option.metavar}
        groups.setdefault(option.group, []).append(click.Option(flags, default=None, help=option.help, **switch))
    groups.setdefault("Job", []).extend(
        (
            click.Option(
                ["--config", "preset"],
                metavar="FILE|NAME",
                help=f"A TOML file, or a preset by name: {', '.join(sorted(presets))}.",
            ),
            click.Option(
                ["--set", "assignments"],
                multiple=True,
                metavar="KEY=VALUE",
                help=f"Set any key of docs/config.md, as {example}. Repeatable.",
            ),
        )
    )
    return groups


def job_config(preset: str | None, assignments: tuple[str, ...], given: dict[str, Any] | None = None) -> JobConfig:
    """The job that the values of `click_options` describe. Raises ConfigError."""
    options = {name.replace("__", "."): value for name, value in (given or {}).items()}
    return load_config(find_config(preset), assignments, options)
