"""A file that names live streams, as configs/live/cameras.toml:

[defaults.SECTION]      what holds for every stream, as a stream's own sections
[status], [run]         what concerns the whole process
[[stream]]              name, source, targets
[stream.SECTION]        what holds for this stream alone

${NAME} in an address is taken from the environment. No message repeats an address with its credentials."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamsr.config import Config, RunConfig, Section, config_keys, load_as
from streamsr.errors import ConfigError
from streamsr.live.address import TargetAddress, masked, parse_source, parse_target
from streamsr.live.hls_folder import hls_folder
from streamsr.live_config import NamedStream, RestreamConfig, StatusConfig, StreamConfig

ADDRESSES = ("name", "source", "targets")
TOP = ("defaults", "status", "run", "stream")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NO_OVERRIDES: Mapping[str, Any] = {}


class ProcessConfig(Section):
    """What the streams of a process have in common."""

    status: StatusConfig = StatusConfig()
    run: RunConfig = RunConfig()


def names_streams(path: Path) -> bool:
    """Whether the file is one of these, and not the settings of one stream. Raises ConfigError."""
    return not {"stream", "streams", "defaults"}.isdisjoint(_document(path))


def load_streams(path: Path, overrides: Mapping[str, Any] = _NO_OVERRIDES) -> tuple[NamedStream, ...]:
    """The streams of the file, in its order. `overrides` (values by "section.key") win over all it says.

    Raises ConfigError with the file, the stream, the key and the nearest key."""
    document = _document(path)
    for key in document:
        if key not in TOP:
            raise ConfigError(f"unknown key {key!r}", where=str(path), remedy=_nearest(key, TOP))
    entries = document.get("stream")
    if not isinstance(entries, list) or not entries or not all(isinstance(each, dict) for each in entries):
        remedy = "Write [[stream]] and below it name, source and targets; configs/live/cameras.toml is an example."
        raise ConfigError("the file names no stream", where=str(path), remedy=remedy)
    defaults = _table(document, "defaults", path)
    _load(StreamConfig, _flat(defaults), where=f"{path}, [defaults]")
    ours = {key: value for key, value in overrides.items() if key.partition(".")[0] in StreamConfig.model_fields}
    streams = tuple(
        _stream(entry, number, _flat(defaults), ours, path) for number, entry in enumerate(entries, start=1)
    )
    check_together(streams, where=str(path))
    return streams


def load_process(path: Path, overrides: Mapping[str, Any] = _NO_OVERRIDES) -> ProcessConfig:
    """[status] and [run] of the file, `overrides` winning. Raises ConfigError."""
    document = _document(path)
    values = {name: _table(document, name, path) for name in ProcessConfig.model_fields}
    ours = {key: value for key, value in overrides.items() if key.partition(".")[0] in ProcessConfig.model_fields}
    return _load(ProcessConfig, _flat(values) | ours, where=str(path))


def only_stream(
    name: str, source: str, targets: tuple[str, ...], file: Path | None, overrides: Mapping[str, Any]
) -> tuple[NamedStream, RestreamConfig]:
    """The stream of a command line, and all its settings: those of `file`, `overrides` winning. Raises ConfigError."""
    values = _flat(_document(file)) if file is not None else {}
    cfg = _load(RestreamConfig, {**values, **overrides}, where=str(file) if file is not None else "options")
    sections = {section: getattr(cfg, section) for section in StreamConfig.model_fields}
    stream = _checked(name, source, targets, StreamConfig(**sections), where="the command line")
    check_together((stream,), where="the command line")
    return stream, cfg


def check_together(streams: tuple[NamedStream, ...], where: str) -> None:
    """Raises ConfigError where two streams have one name, or two targets would be one."""
    names: set[str] = set()
    taken: dict[tuple[str, str], str] = {}
    for stream in streams:
        if stream.name in names:
            raise ConfigError(f"two streams are called {stream.name!r}", where=where, remedy="Rename one.")
        names.add(stream.name)
        for text in stream.targets:
            target = parse_target(text)
            place = _place(target)
            if place in taken:
                both = stream.name if taken[place] == stream.name else f"{taken[place]} and {stream.name}"
                what = f"two targets of {both} would write to {target.masked}"
                raise ConfigError(what, where=where, remedy="Change one of them.")
            taken[place] = stream.name


def changes(
    old: tuple[NamedStream, ...], new: tuple[NamedStream, ...]
) -> tuple[tuple[NamedStream, ...], tuple[NamedStream, ...], tuple[NamedStream, ...]]:
    """(added, removed, changed) between two states of a file, by name. Of a changed stream it is the new value."""
    before, after = {each.name: each for each in old}, {each.name: each for each in new}
    added = tuple(each for each in new if each.name not in before)
    removed = tuple(each for each in old if each.name not in after)
    changed = tuple(each for each in new if each.name in before and before[each.name] != each)
    return added, removed, changed


def _place(target: TargetAddress) -> tuple[str, str]:
    """What a target has for itself alone."""
    match target.kind:
        case "hls":
            return "hls", os.path.abspath(hls_folder(target.url).playlist)
        case "record":
            return "record", os.path.abspath(target.url)
    return target.kind, target.url.rstrip("/")


def _stream(
    entry: Mapping[str, Any], number: int, defaults: Mapping[str, Any], overrides: Mapping[str, Any], path: Path
) -> NamedStream:
    name = entry.get("name")
    where = f"{path}, stream {name}" if isinstance(name, str) else f"{path}, stream number {number}"
    allowed = (*ADDRESSES, *StreamConfig.model_fields)
    for key in entry:
        if key not in allowed:
            near = _nearest(key, (*allowed, *config_keys(StreamConfig)))
            raise ConfigError(f"unknown key {key!r}", where=where, remedy=near)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        remedy = 'Write name = "front": letters, digits, dot, dash, underscore, 64 at most.'
        raise ConfigError("the stream has no usable name", where=where, remedy=remedy)
    source, targets = entry.get("source"), entry.get("targets")
    if not isinstance(source, str):
        raise ConfigError("the stream has no source", where=where, remedy='Write source = "rtsp://...".')
    if not isinstance(targets, list) or not targets or not all(isinstance(each, str) for each in targets):
        raise ConfigError("the stream has no targets", where=where, remedy='Write targets = ["hls:out/", ...].')
    own = _flat({key: value for key, value in entry.items() if key not in ADDRESSES})
    settings = _load(StreamConfig, {**defaults, **own, **overrides}, where)
    return _checked(name, source, tuple(targets), settings, where)


def _checked(name: str, source: str, targets: tuple[str, ...], settings: StreamConfig, where: str) -> NamedStream:
    source, targets = _expanded(source, where), tuple(_expanded(target, where) for target in targets)
    try:
        parse_source(source)
        for target in targets:
            parse_target(target)
    except ConfigError as error:
        inner = f", {error.where}" if error.where else ""
        raise ConfigError(error.what, where=where + inner, remedy=error.remedy) from None
    return NamedStream(name=name, source=source, targets=targets, settings=settings)


def _expanded(address: str, where: str) -> str:
    """The address with each ${NAME} replaced by the environment's value. Raises ConfigError."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            remedy = f"Set {match[1]} before the start; a systemd unit takes it from an EnvironmentFile=."
            raise ConfigError(f"the environment has no {match[1]}", where=where, remedy=remedy)
        return os.environ[match[1]]

    return _VARIABLE.sub(value, address)


def _load(model: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """`load_as` of values by "section.key", with our place in its errors."""
    try:
        return load_as(model, None, (), values)
    except ConfigError as error:
        raise ConfigError(masked(error.what), where=where, remedy=error.remedy) from None


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _table(document: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} is not a table", where=str(path), remedy=f"Write [{name}].")
    return table


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError("cannot read the config file", where=str(path), remedy=error.strerror or "") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid TOML: {error}", where=str(path)) from error


def _nearest(key: str, words: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, words, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"There are {', '.join(words[:8])}."
