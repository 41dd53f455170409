"""The presets of configs/ by name, from a checkout or from an installed package."""

from __future__ import annotations

import difflib
import sysconfig
from pathlib import Path

from streamsr.errors import ConfigError


def preset_folders() -> tuple[Path, ...]:
    """Where presets lie: beside the sources in a checkout, else where `pip install` puts data files."""
    checkout = Path(__file__).resolve().parent.parent / "configs"
    return checkout, Path(sysconfig.get_path("data")) / "share" / "streamsr" / "configs"


def preset_names() -> dict[str, Path]:
    """Every preset, name -> file. A checkout's own preset hides an installed one of the same name."""
    files = [file for folder in reversed(preset_folders()) for file in sorted(folder.glob("*.toml"))]
    return {file.stem: file for file in files}


def find_config(name: str | None) -> Path | None:
    """The file meant by `--config NAME|FILE`. Raises ConfigError when there is none."""
    if name is None:
        return None
    presets = preset_names()
    if name in presets and not Path(name).is_file():
        return presets[name]
    if Path(name).is_file() or Path(name).suffix == ".toml":
        return Path(name)
    near = difflib.get_close_matches(name, presets, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(presets))}."
    raise ConfigError("no such preset or file", where=f"--config {name}", remedy=hint)
