"""The verb `models`: what there is, what a checkpoint holds, and fetching."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamsr.errors import WeightsError
from streamsr.models.catalog import CATALOG, Entry, look_up
from streamsr.models.locations import cache_dir, find
from streamsr.models.pull import pull

COLUMNS = ("name", "scale", "size", "at hand", "licence", "for")


def all_models() -> list[tuple[str, ...]]:
    """A row of COLUMNS for every model of the catalogue; "at hand" is where its weights lie, or how to get them."""
    return [
        (entry.name, f"x{entry.scale}", _size(entry), _place(entry), entry.licence, entry.summary) for entry in CATALOG
    ]


def model_facts(reference: str) -> dict[str, str]:
    """What a checkpoint holds, by name or path, in the order to show. Raises WeightsError."""
    from streamsr.models.weights import describe

    return {name.replace("_", " "): "-" if value is None else str(value) for name, value in describe(reference).items()}


def pull_model(name: str, on_progress: Callable[[int, int | None], None]) -> Path:
    """The file of the model `name`, fetched into the user's cache where it is missing; see models/pull.py.

    `on_progress(bytes so far, bytes in all or None)`. Raises WeightsError, also for a name that is not known."""
    entry = look_up(name)
    if entry.url is None:
        found = find(entry.name)
        if found is None:
            raise WeightsError(f"{entry.name} comes with streamsr, but is missing", remedy="Install streamsr again.")
        return found
    return pull(entry, cache_dir(), on_progress)


def _place(entry: Entry) -> str:
    found = find(entry.name)
    if found is not None:
        return str(found)
    return "missing" if entry.url is None else f"no: models pull {entry.name}"


def _size(entry: Entry) -> str:
    found = find(entry.name)
    num_bytes = found.stat().st_size if found else entry.size_bytes
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes else "-"
