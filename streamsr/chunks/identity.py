"""What makes a job this job: the source, the model, the settings and the programs that its parts depend on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamsr
from streamsr.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from streamsr.config import JobConfig

BLOCK_BYTES = 1 << 22
WITHOUT_EFFECT = {
    "source": set[str](),
    "upscale": {"device", "batch", "model"},
    "encode": set[str](),
    "chunks": {"gpus", "workers_per_gpu", "work_dir", "resume", "ray", "transport"},
}
"""By section of the config: the keys that decide how the work is done, not what comes out. Models go by their hash."""


@dataclass(frozen=True, slots=True)
class SourceHash:
    """A file's SHA-256, and what tells whether the file is still the one that was read."""

    num_bytes: int
    mtime_ns: int
    inode: int
    sha256: str


def hash_source(
    path: Path, known: Iterable[SourceHash] = (), progress: Callable[[int, int], None] | None = None
) -> SourceHash:
    """The SHA-256 of the whole file: from `known` if size, time of change and inode are the same there, else read.

    progress: called with (bytes read, all bytes), often. Raises SourceError, also when the file changes meanwhile."""
    try:
        with open(path, "rb") as file:
            before = _state(file.fileno())
            for entry in known:
                if (entry.num_bytes, entry.mtime_ns, entry.inode) == before:
                    return entry
            digest, done = hashlib.sha256(), 0
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
                done += len(block)
                if progress is not None:
                    progress(done, before[0])
            if _state(file.fileno()) != before:
                remedy = "Wait until it is complete."
                raise SourceError("the source is being written to", where=str(path), remedy=remedy)
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return SourceHash(*before, digest.hexdigest())


def job_identity(
    cfg: JobConfig,
    source: SourceHash,
    *,
    suffix: str,
    model: str,
    model_sha256: str,
    encoder: Mapping[str, Any],
    plan: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Two runs with equal identities make parts that fit into one film. Plain JSON values, two levels of keys.

    `suffix` of the target; `encoder`: what was chosen for it on this machine, without the number of threads; `plan`:
    what else the chunks depend on. Versions: a codec library of another version may write other headers."""
    settings = {
        f"{section}.{key}": value
        for section, without in WITHOUT_EFFECT.items()
        for key, value in getattr(cfg, section).model_dump(mode="json").items()
        if key not in without
    }
    return {
        "source": {"size": source.num_bytes, "sha256": source.sha256},
        "model": {"name": model, "sha256": model_sha256},
        "settings": settings | {"target": suffix},
        "encoder": {key: _plain(value) for key, value in encoder.items()},
        "plan": {key: _plain(value) for key, value in (plan or {}).items()},
        "versions": {"streamsr": streamsr.__version__, "torch": _version("torch"), "av": _version("av")},
    }


def refuse_other(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raises ConfigError when the job that left its work in `folder`, of identity `before`, is not the one of identity
    `now`. Names the first key that differs, with both values."""
    old, new = _flat(before), _flat(now)
    differing = [key for key in {**new, **old} if old.get(key) != new.get(key)]
    if not differing:
        return
    key, others = differing[0], len(differing) - 1
    more = f", and {others} more" if others else ""
    was, now_is = (repr(values[key]) if key in values else "not there" for values in (old, new))
    what = f"the work dir is that of another job: {key} was {was} and is {now_is}{more}"
    remedy = "Use --fresh to throw that work away, or name another --work-dir."
    raise ConfigError(what, where=str(folder), remedy=remedy)


def _flat(identity: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in identity.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _state(descriptor: int) -> tuple[int, int, int]:
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns, found.st_ino


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _version(package: str) -> str:
    """Without the build, as "+cu130": workers with and without a GPU may share a job."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return "none"
