"""Fetches published weights: resumed when cut, checked, and put in place whole or not at all.

What is being fetched lies in FILE.part until its size and SHA-256 are right. For files whose hash nobody published, the
hash of the first copy is kept in FILE.sha256, and later copies must have the same."""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

from streamsr.errors import WeightsError
from streamsr.models.catalog import Entry
from streamsr.models.pull_lock import pull_lock
from streamsr.models.transfer import Progress, TransferError, transfer

ATTEMPTS = 5  # in a row that bring nothing
FIRST_PAUSE_S = 0.5  # doubled after every one of them


def pull(
    entry: Entry,
    folder: Path,
    on_progress: Progress | None = None,
    timeout_s: float = 30.0,
    pause_s: float = FIRST_PAUSE_S,
) -> Path:
    """The entry's file in `folder`, fetched unless it is there already and right.

    `on_progress(bytes so far, bytes in all or None)` is called after every chunk. No single wait is longer than
    `timeout_s`; broken transfers are resumed, with growing pauses from `pause_s` on. $STREAMSR_WEIGHTS_URL names a
    mirror that holds the files side by side. Raises WeightsError; the file then is not there, and a .part of it only
    if fetching may go on from it."""
    if entry.url is None:
        raise WeightsError(f"{entry.name} comes with streamsr and is not fetched")
    url = _url(entry)
    target = folder / entry.file
    expected = entry.sha256 or _remembered(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with pull_lock(target):
            if target.is_file() and expected and _sha256(target).startswith(expected):
                return target
            part = target.with_name(f"{target.name}.part")
            if expected is None:
                part.unlink(missing_ok=True)  # it may be the beginning of another edition, and nothing would tell
            _fetch(url, part, entry.size_bytes, on_progress or _silent, timeout_s, pause_s)
            _accept(part, target, entry, expected)
    except OSError as error:
        raise WeightsError(
            f"cannot store the weights of {entry.name}: {error.strerror or error}",
            where=str(folder),
            remedy="Make room or choose another folder.",
        ) from error
    return target


def _silent(_done: int, _total: int | None) -> None:
    pass


def _url(entry: Entry) -> str:
    mirror = os.environ.get("STREAMSR_WEIGHTS_URL")
    url = f"{mirror.rstrip('/')}/{entry.file}" if mirror else str(entry.url)
    if urlsplit(url).scheme not in ("http", "https"):
        raise WeightsError("not an http or https address", where=url, remedy="Set STREAMSR_WEIGHTS_URL to one.")
    return url


def _fetch(url: str, part: Path, size: int | None, on_progress: Progress, timeout_s: float, pause_s: float) -> None:
    """Transfers until `part` is complete, as far as its size tells."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return transfer(url, part, size, on_progress, timeout_s)
        except TransferError as cut:
            gained = part.exists() and part.stat().st_size > before
            failures = 0 if gained else failures + 1
            if failures == ATTEMPTS:
                raise WeightsError(
                    f"cannot fetch the weights: {cut}", where=url, remedy="Try again: it goes on from where it stopped."
                ) from cut
            time.sleep(pause_s * 2 ** max(failures - 1, 0))


def _accept(part: Path, target: Path, entry: Entry, expected: str | None) -> None:
    """Moves a right file into its place, removes a wrong one."""
    size, sha256 = part.stat().st_size, _sha256(part)
    if entry.size_bytes not in (None, size) or not sha256.startswith(expected or ""):
        part.unlink()
        raise WeightsError(
            f"the file fetched is not {entry.file} as published: {size} bytes, SHA-256 {sha256[:16]}..., "
            f"expected {(expected or 'any')[:16]}",
            remedy="It was removed. Try again, or another mirror in STREAMSR_WEIGHTS_URL.",
        )
    with part.open("rb") as file:
        os.fsync(file.fileno())
    if expected is None:
        _note_of(target).write_text(f"{sha256}  {target.name}\n", "ascii")
    part.replace(target)


def _note_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _remembered(target: Path) -> str | None:
    note = _note_of(target)
    if not note.is_file():
        return None
    sha256 = note.read_text("ascii", errors="replace").partition(" ")[0].strip()
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise WeightsError("does not hold a SHA-256", where=str(note), remedy="Remove it.")
    return sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
