"""The presets of configs/ by name, from a checkout or from an installed package."""

from __future__ import annotations

import difflib
from pathlib import Path

from streamsr.errors import ConfigError
from streamsr.installed import installed_dir


def preset_names(folder: str = "") -> dict[str, Path]:
    """Every preset in configs/ or in a folder there, name -> file."""
    # Presets lie beside the embedded weights, in a checkout as well as where `pip install` puts data files.
    return {file.stem: file for file in sorted((installed_dir() / "configs" / folder).glob("*.toml"))}


def find_config(name: str | None, folder: str = "") -> Path | None:
    """The file meant by `--config NAME|FILE`; `folder` as for `preset_names`. Raises ConfigError when there is none."""
    if name is None:
        return None
    presets = preset_names(folder)
    if name in presets and not Path(name).is_file():
        return presets[name]
    if Path(name).is_file() or Path(name).suffix == ".toml":
        return Path(name)
    near = difflib.get_close_matches(name, presets, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(presets))}."
    raise ConfigError("no such preset or file", where=f"--config {name}", remedy=hint)
