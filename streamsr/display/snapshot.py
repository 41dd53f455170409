"""The pair of pictures that the key `s` keeps."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np

MAX_TRIES = 1000


def save_pair(folder: Path, original: np.ndarray, upscaled: np.ndarray, now: datetime | None = None) -> Path:
    """Writes FOLDER/streamsr-TIME-original.png and -upscaled.png, TIME in UTC, from (H, W, 3) uint8 in the order B, G,
    R. Never replaces a file: a taken name gets a number. Makes the folder. Returns the second path; raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    for number in range(MAX_TRIES):
        stem = f"streamsr-{moment}" + (f"-{number}" if number else "")
        first, second = folder / f"{stem}-original.png", folder / f"{stem}-upscaled.png"
        if _write_new(first, original):
            if _write_new(second, upscaled):
                return second
            first.unlink()
    raise FileExistsError(f"{folder} is full of snapshots of {moment}")


def _write_new(path: Path, picture: np.ndarray) -> bool:
    """False where the name is taken."""
    done, data = cv2.imencode(".png", picture)
    assert done, f"a picture of {picture.shape} is no PNG"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data.tobytes())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True
