"""Training configurations by name: those of configs/train, or a file."""

from __future__ import annotations

import difflib
from pathlib import Path

from streamsr.config import load_as
from streamsr.errors import ConfigError
from streamsr.installed import installed_dir
from streamsr.train.config import TrainConfig


def train_presets() -> dict[str, Path]:
    """Every configuration that comes with streamsr, name -> file."""
    return {file.stem: file for file in sorted((installed_dir() / "configs" / "train").glob("*.toml"))}


def read_config(reference: str, assignments: tuple[str, ...]) -> tuple[TrainConfig, str]:
    """The configuration that a name or a path means, with "section.key=value" assignments, and its name.

    Raises ConfigError."""
    presets, path = train_presets(), Path(reference).expanduser()
    if reference in presets and not path.is_file():
        path = presets[reference]
    elif not path.is_file() and path.suffix != ".toml":
        near = difflib.get_close_matches(reference, presets, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(presets)}; or give a TOML file."
        raise ConfigError("no such training configuration", where=reference, remedy=hint)
    return load_as(TrainConfig, path, assignments), path.stem
