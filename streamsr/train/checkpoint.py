"""The state of a run on disk: written whole or not at all, and checked when it is read."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from streamsr.errors import ConfigError, SinkError, WeightsError
from streamsr.train.config import TrainConfig

FOLDER = "state"
_NAME = re.compile(r"step-(\d{9})\.pt")
_UNREADABLE = (OSError, RuntimeError, ValueError, EOFError, KeyError, TypeError, pickle.UnpicklingError)

# Keys that decide how a run goes on, not what comes of it.
FREE = re.compile(
    r"(validation\.|run\.(device|threads|compile|log_every|save_every|keep|samples|tensorboard|patience_s)$"
    r"|data\.(workers|cache_mb)$|loss\.vgg$)"
)


def checkpoints(run: Path) -> list[Path]:
    """Those of a run's folder, the newest first."""
    return sorted((path for path in (run / FOLDER).glob("step-*.pt") if _NAME.fullmatch(path.name)), reverse=True)


def save_checkpoint(run: Path, state: Mapping[str, Any], keep: int) -> Path:
    """Writes `state` (with its "step") under a temporary name, syncs and renames it; then all but the newest `keep` go.

    Raises SinkError; what was there before is untouched then."""
    target = run / FOLDER / f"step-{state['step']:09}.pt"
    write_whole(target, lambda path: torch.save(dict(state), path))
    for old in checkpoints(run)[keep:]:
        old.unlink(missing_ok=True)
    return target


def write_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a temporary path beside `target`, syncs what it wrote and renames it. Raises SinkError."""
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError where the disk is full
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
        raise SinkError(f"cannot write: {reason}", where=str(target), remedy="Make room, or use --out.") from error
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(run: Path, notice: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest checkpoint of a run that can be read, tensors on the CPU; None where there is none.

    Damaged ones are named to `notice` and passed over. Raises WeightsError if all of them are damaged."""
    found = checkpoints(run)
    for path in found:
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    raise zipfile.BadZipFile
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            int(state["step"])
            return state
        except (*_UNREADABLE, zipfile.BadZipFile):
            notice(f"{path.name} is damaged and passed over")
    if found:
        what = f"no checkpoint of this run can be read, {len(found)} tried"
        raise WeightsError(what, where=str(run / FOLDER), remedy="Start anew with --fresh.")
    return None


def deciding(cfg: TrainConfig, world: int) -> dict[str, Any]:
    """Every "section.key" that the result depends on, and the number of processes, as plain values."""
    tree = cfg.model_dump(mode="json")
    flat = {f"{section}.{key}": value for section, keys in tree.items() for key, value in keys.items()}
    return {"processes": world} | {key: value for key, value in flat.items() if not FREE.match(key)}


def check_same(saved: Mapping[str, Any], cfg: TrainConfig, world: int, run: Path) -> None:
    """Raises ConfigError, with the keys that differ, unless `saved` (a `deciding`) is that of `cfg` and `world`."""
    now = deciding(cfg, world)
    changed = [
        f"{key} was {saved.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(saved.keys() | now.keys())
        if saved.get(key) != now.get(key)
    ]
    if changed:
        raise ConfigError(
            f"this folder holds a run of another configuration: {'; '.join(changed[:4])}",
            where=str(run),
            remedy="Change it back, go on with the change (--resume), start anew (--fresh), or use another --out.",
        )
