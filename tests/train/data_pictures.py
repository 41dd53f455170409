"""Pictures and configs for the tests of training data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from streamsr.config import load_as
from streamsr.train.config import TrainConfig
from streamsr.train.data_config import DataConfig

Picture = npt.NDArray[np.uint8]


def gradient(height: int, width: int) -> Picture:
    """RGB whose red is the row and whose green the column (in 255ths of 256): a crop tells where it was cut."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows % 256, columns % 256, np.full_like(rows, 90)], axis=2).astype(np.uint8)


def smooth(height: int, width: int, seed: int) -> Picture:
    """A random picture with structure at several sizes."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for size in (4, 12, 40):
        picture += cv2.resize(rng.random((size, size, 3), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(picture * 85, 0, 255), dtype=np.uint8)


def write(path: Path, picture: Picture) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1] if picture.ndim == 3 else picture)
    return path


def some_pictures(folder: Path, count: int = 4, height: int = 96, width: int = 128) -> Path:
    for number in range(count):
        write(folder / f"picture-{number}.png", smooth(height, width, number))
    return folder


def data(folder: Path, **fields: Any) -> DataConfig:
    return DataConfig(**{"pictures": (str(folder),), "workers": 0, "crop": 32, "recipe": "classical", **fields})


def config(folder: Path, pool: dict[str, Any] | None = None, **fields: Any) -> TrainConfig:
    tree = {"data": data(folder, **fields).model_dump(), "pool": {"size": 0, "fresh": 0, **(pool or {})}}
    return load_as(TrainConfig, None, (), {f"{s}.{k}": v for s, part in tree.items() for k, v in part.items()})


def heard(lines: list[str]) -> Any:
    return lines.append
