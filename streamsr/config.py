"""The job as a typed, frozen value, validated once at the edge. Parts receive only their own section.

A config comes from defaults, then a TOML file, then `--set section.key=value`, then options; the later one wins."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from streamsr.errors import ConfigError

Codec = Literal["auto", "h264", "hevc", "av1", "vp9", "prores", "ffv1"]
Precision = Literal["auto", "fp32", "fp16", "bf16"]
Progress = Literal["auto", "bar", "json", "none"]

NAMED_SIZES = {
    "8k": (7680, 4320),
    "4k": (3840, 2160),
    "1440p": (2560, 1440),
    "1080p": (1920, 1080),
    "720p": (1280, 720),
}


def parse_time(text: str | float) -> float:
    """Seconds from "83.5", "1:23.5" or "0:01:23.5". Raises ValueError."""
    if isinstance(text, int | float):
        return float(text)
    if not re.fullmatch(r"(\d+:){0,2}(\d+(\.\d*)?|\.\d+)", text.strip()):
        raise ValueError(f"{text!r} is not a time; write seconds or H:MM:SS")
    seconds = 0.0
    for part in text.strip().split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) from "4k", "1080p" or "1920x1080". Raises ValueError."""
    name = text.strip().lower()
    if name in NAMED_SIZES:
        return NAMED_SIZES[name]
    match = re.fullmatch(r"(\d+)x(\d+)", name)
    if not match or min(int(match[1]), int(match[2])) < 2:
        raise ValueError(f"{text!r} is not a size; write {', '.join(NAMED_SIZES)} or WIDTHxHEIGHT")
    return int(match[1]), int(match[2])


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SourceConfig(Section):
    start_s: float = Field(0.0, ge=0)
    """First moment to upscale: seconds, or H:MM:SS."""
    duration_s: float | None = Field(None, gt=0)
    """How much to upscale from there: seconds, or H:MM:SS. Default: to the end."""
    decoder: Literal["auto", "cpu", "nvdec", "dali"] = "auto"
    """Who decodes: auto takes NVDEC when the video goes to a CUDA device and it works, else the CPU."""
    deinterlace: bool | None = None
    """True: always, False: never, unset: what is marked as interlaced."""

    @field_validator("start_s", "duration_s", mode="before")
    @classmethod
    def _times(cls, value: Any) -> Any:
        return parse_time(value) if isinstance(value, str) else value


class UpscaleConfig(Section):
    model: str = "auto"
    """Name of a model (see `models list`) or path of a checkpoint."""
    denoise: float | None = Field(None, ge=0, le=1)
    """For general-x4v3: 0 keeps noise and grain, 1 removes most of it."""
    scale: float | None = Field(None, gt=0, le=16)
    """Output size as a multiple of the input's. Default without `to`: the network's own, at most what fits into 4K."""
    to: str | None = None
    """Output box: 8k, 4k, 1440p, 1080p, 720p or WxH. The picture is fitted into it, aspect kept."""
    device: str = "auto"
    """auto, cpu, mps, cuda, or cuda:0,1 for several GPUs."""
    batch: int = Field(0, ge=0, le=256)
    """Pictures per network call; 0 chooses from free memory."""
    tile: int = Field(0, ge=0)
    """Side of the tiles a picture is cut into, in input pixels; 0 chooses from free memory."""
    precision: Precision = "auto"
    """Arithmetic of the network: auto takes the fastest one that is safe on the device."""

    @field_validator("to")
    @classmethod
    def _to(cls, value: str | None) -> str | None:
        if value is not None:
            parse_size(value)
        return value


class EncodeConfig(Section):
    codec: Codec = "auto"
    """Video codec; auto: h264, hevc for more than 8 bit or HDR, vp9 into WebM."""
    encoder: str = "auto"
    """FFmpeg's name of the encoder, as libx265 or hevc_nvenc; auto: hardware where it works, else software."""
    quality: int = Field(75, ge=0, le=100)
    """0 smallest file, 100 best picture; mapped to each encoder's own scale (docs/quality.md)."""
    preset: str = "auto"
    """Speed of the encoder, in its own words (x264: ultrafast..placebo); auto suits the size and the device."""
    pix_fmt: str = "auto"
    """Pixel format of the output, as yuv420p10le; auto keeps the input's as far as the encoder can."""


class OutputConfig(Section):
    audio: Literal["copy", "transcode", "none"] = "copy"
    """copy keeps the packets (and transcodes only what the container cannot hold)."""
    overwrite: bool = False
    """Replace output files that exist."""
    report: str | None = None
    """Write the job's report to this JSON file."""


class RunConfig(Section):
    progress: Progress = "auto"
    """bar on a terminal, json lines for machines, none; auto: bar on a terminal, a line now and then elsewhere."""
    debug: bool = False
    """Show tracebacks and the encoder's log."""
    patience_s: float = Field(60.0, gt=0)
    """How long a stage may make no progress at all before the job is given up."""


class ChunksConfig(Section):
    chunk_s: float = Field(10.0, gt=0)
    """Length of a chunk: seconds, or H:MM:SS. It begins on the next place where the film can be cut."""
    gpus: str = ""
    """Numbers of the GPUs to use, as 0,1,3. Default: those of upscale.device."""
    workers_per_gpu: int = Field(0, ge=0, le=64)
    """Workers on each GPU, or on the CPU; 0 chooses what keeps it full."""
    work_dir: str | None = None
    """Folder for finished parts and the journal. Default: a hidden folder beside the target, removed at the end."""
    resume: bool | None = None
    """True: only go on with earlier work, False: begin anew, unset: go on where the work folder fits."""
    ray: str | None = None
    """Address of a Ray cluster, as auto, local or HOST:PORT; unset: processes on this machine."""
    transport: Literal["shared", "objects"] = "shared"
    """How a cluster gets at the source and the parts: the same paths everywhere, or through Ray's object store."""
    scenes: bool = False
    """Let chunks begin on scene cuts where there is one nearby."""

    @field_validator("chunk_s", mode="before")
    @classmethod
    def _times(cls, value: Any) -> Any:
        return parse_time(value.strip().removesuffix("s")) if isinstance(value, str) else value


class JobConfig(Section):
    source: SourceConfig = SourceConfig()
    upscale: UpscaleConfig = UpscaleConfig()
    encode: EncodeConfig = EncodeConfig()
    output: OutputConfig = OutputConfig()
    chunks: ChunksConfig = ChunksConfig()
    run: RunConfig = RunConfig()


Config = TypeVar("Config", bound=BaseModel)


def load_config(
    file: Path | None = None, assignments: tuple[str, ...] = (), options: Mapping[str, Any] | None = None
) -> JobConfig:
    """The job of a video: see `load_as`."""
    return load_as(JobConfig, file, assignments, options)


def load_as(
    model: type[Config],
    file: Path | None = None,
    assignments: tuple[str, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> Config:
    """A config from a TOML file, "section.key=value" assignments and option values by dotted key (None: not given).

    Raises ConfigError with the file, the key, the value, what is allowed and the nearest key."""
    tree: dict[str, Any] = {}
    keys = config_keys(model)
    if file is not None:
        try:
            tree = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            raise ConfigError("cannot read the config file", where=str(file), remedy=error.strerror or "") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"not valid TOML: {error}", where=str(file)) from error
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment!r} has no '='", remedy="Write --set section.key=value.")
        _put(tree, key.strip(), _toml_value(text.strip()), keys, where=f"--set {assignment}")
    for key, value in (options or {}).items():
        if value is not None:
            _put(tree, key, value, keys, where=key)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, keys, where=str(file) if file else "options") from error


def config_keys(model: type[BaseModel] = JobConfig) -> dict[str, str]:
    """Every "section.key" of a config with its documentation; a key outside any section stands for itself. Of a section
    that may be left out (`Section | None`) the keys are listed too."""
    keys = {}
    for name, info in model.model_fields.items():
        kinds = [kind for kind in (info.annotation, *get_args(info.annotation)) if isinstance(kind, type)]
        section = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
        if section is None:
            keys[name] = info.description or ""
        else:
            keys |= {f"{name}.{key}": words for key, words in config_keys(section).items()}
    return keys


def _put(tree: dict[str, Any], dotted: str, value: Any, keys: Mapping[str, str], *, where: str) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        inner = tree.setdefault(section, {}) if section else None
        if not isinstance(inner, dict):
            raise ConfigError(f"{dotted!r} is not a section.key", where=where, remedy=_did_you_mean(dotted, keys))
        tree = inner
    if not sections and dotted not in keys:
        raise ConfigError(f"{dotted!r} is not a section.key", where=where, remedy=_did_you_mean(dotted, keys))
    tree[key] = value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _did_you_mean(key: str, keys: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else "docs/ lists every key."


def _explain(error: ValidationError, keys: Mapping[str, str], where: str) -> ConfigError:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return ConfigError(f"unknown key {key!r}", where=where, remedy=_did_you_mean(key, keys))
    message = str(first["msg"]).removeprefix("Value error, ")
    if isinstance(first.get("input"), dict):  # sections that do not fit together: nobody wants to read them all
        return ConfigError(f"{key}: {message}".removeprefix(": "), where=where)
    return ConfigError(f"{key} = {first.get('input')!r} is wrong: {message}", where=where)


def choices(alias: Any) -> list[str]:
    """The words of a Literal type, for command-line options."""
    return list(get_args(alias))
