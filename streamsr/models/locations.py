"""Where weights lie on this machine, and which model `auto` means here. Standard library only."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from streamsr.errors import WeightsError
from streamsr.installed import installed_dir
from streamsr.models.catalog import Entry, known, look_up

SUFFIXES = (".pth", ".pt", ".safetensors")


def embedded_dir() -> Path:
    """The folder of the weights that come with streamsr: of the source checkout, or of the installation."""
    return installed_dir() / "weights"


def cache_dir() -> Path:
    """Where `streamsr models pull` puts files: the user's cache folder, as the platform has it."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "streamsr" / "weights"


def search_folders() -> tuple[Path, ...]:
    """The folders a name is looked for in, first hit wins: embedded, $STREAMSR_WEIGHTS, cache."""
    own = os.environ.get("STREAMSR_WEIGHTS")
    return (embedded_dir(), *([Path(own).expanduser()] if own else []), cache_dir())


def find(name: str) -> Path | None:
    """The file of a catalogue name on this machine; None where it is not here. Raises WeightsError if unknown."""
    entry = look_up(name)
    candidates = (folder / entry.file for folder in search_folders())
    return next((path for path in candidates if path.is_file()), None)


def resolve(reference: str | Path) -> tuple[Path, Entry | None]:
    """The file that a name or path means, and its catalogue entry if it was found by name.

    Raises WeightsError for a path that does not exist, an unknown name, and a model that is not on this machine."""
    path = Path(reference).expanduser()
    text = str(reference)
    is_bare = isinstance(reference, str) and path.name == text
    entry = known(text) if is_bare else None
    looks_like_path = not is_bare or path.suffix.lower() in SUFFIXES or (entry is None and path.exists())
    if looks_like_path and path.is_file():
        return path, None
    if looks_like_path and entry is None:
        what = "is a folder, not a checkpoint" if path.is_dir() else "there is no such checkpoint"
        raise WeightsError(what, where=text, remedy="Give a .pth or .safetensors file, or a name of `models list`.")
    entry = look_up(text)
    if found := find(entry.name):
        return found, entry
    if entry.url is None:
        raise WeightsError(
            f"{entry.name} comes with streamsr, but {entry.file} is missing",
            where=str(embedded_dir()),
            remedy="Install streamsr again.",
        )
    raise WeightsError(
        f"the weights of {entry.name} are not on this machine",
        remedy=f"Fetch them with `streamsr models pull {entry.name}`.",
    )


def choose_model(device_kind: Literal["cuda", "mps", "cpu"], can_pull: bool) -> tuple[str, str]:
    """(name, reason) for `--model auto`; the reason is one line for the user."""
    if device_kind == "cpu":
        return "lite", "lite: made for CPUs, and there is no GPU in use"
    if find("animevideov3"):
        return "animevideov3", "animevideov3: there is a GPU, and the weights are at hand"
    if can_pull:
        return "animevideov3", "animevideov3: there is a GPU, and the weights can be fetched"
    return "lite", "lite: there is a GPU, but animevideov3 is not at hand (streamsr models pull animevideov3)"
