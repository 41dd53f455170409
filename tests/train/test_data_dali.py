"""DALI's loader: the crops of torch's loader but for rounding; what DALI cannot read is read otherwise."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamsr.errors import ConfigError
from streamsr.train.crops import Crop
from streamsr.train.loader import open_loader
from streamsr.train.sources import find_sources
from tests.train.data_pictures import data, gradient, smooth, some_pictures, write
from tests.train.loader_work import as_it_is, refused_at_3

pytest.importorskip("nvidia.dali")


def crops(
    folder: Path, loader: str, count: int, told: list[str], make: Callable[[Crop], Any] = as_it_is, **fields: Any
) -> list[Crop]:
    cfg = data(folder, loader=loader, **fields)
    with open_loader(find_sources(cfg, told.append), cfg, 3, itertools.count(), make, told.append) as opened:
        return list(islice(opened, count))


def values(crop: Crop) -> np.ndarray:
    return crop.frames_T3HW[0].permute(1, 2, 0).numpy().astype(float)


def test_the_crops_are_torchs(tmp_path: Path) -> None:
    some_pictures(tmp_path, 2)
    write(tmp_path / "photo.jpg", smooth(150, 110, 8))
    write(tmp_path / "thin.png", smooth(20, 90, 9))
    told: list[str] = []
    choices: list[dict[str, Any]] = [{}, {"zoom": 3.0, "candidates": 3}, {"workers": 2}]
    for fields in choices:
        ours = crops(tmp_path, "torch", 30, told, **{**fields, "workers": 0})
        dalis = crops(tmp_path, "dali", 30, told, **fields)
        for one, other in zip(ours, dalis, strict=True):
            assert (one.number, one.name) == (other.number, other.name)
            limit = 2.0 if one.name.endswith(".jpg") else 0.0
            assert np.abs(values(one) - values(other)).mean() <= limit, one.name
    assert not told


def test_reduced_pictures_have_the_same_distribution(tmp_path: Path) -> None:
    """A crop of a reduced picture is cut from the large one and reduced at once: half a pixel may be between them."""
    write(tmp_path / "gradient.png", gradient(240, 250))
    found = {}
    for loader in ("torch", "dali"):
        told: list[str] = []
        made = crops(tmp_path, loader, 200, told, max_side=125)
        found[loader] = np.array([values(crop).mean(axis=(0, 1)) for crop in made])
        turned = [values(crop)[0, 0, :2] - values(crop)[-1, -1, :2] for crop in made]
        found[f"{loader} turns"] = np.sign(np.array(turned))
    assert np.abs(found["torch"] - found["dali"]).max() < 2.5
    assert np.array_equal(found["torch turns"], found["dali turns"])
    for loader in ("torch", "dali"):
        # Places are even over what is free: rows 0..88 and columns 0..93 of the half-size picture, twice the steps.
        assert found[loader][:, 0].std() == pytest.approx(2 * 88 / 12**0.5, rel=0.12)
        assert found[loader][:, 1].std() == pytest.approx(2 * 93 / 12**0.5, rel=0.12)


def test_what_dali_cannot_read_is_read_otherwise(tmp_path: Path) -> None:
    some_pictures(tmp_path, 2)
    clear = np.zeros((64, 64, 4), np.uint8)
    cv2.imwrite(str(tmp_path / "clear.png"), clear)
    write(tmp_path / "photo.webp", smooth(64, 64, 5))
    whole = cv2.imencode(".jpg", smooth(64, 64, 3))[1].tobytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_bytes(b"this is no picture")
    # The marks of a JPEG and nothing between them: only decoding finds out.
    (tmp_path / "hollow.jpg").write_bytes(whole[:200] + b"\xff\xd9")
    told: list[str] = []
    made = crops(tmp_path, "dali", 60, told)
    assert [crop.number for crop in made] == list(range(60))
    assert {crop.name for crop in made} == {"picture-0.png", "picture-1.png", "clear.png", "photo.webp"}
    assert {line.split(":")[0] for line in told} == {"skipped truncated.jpg", "skipped text.png", "skipped hollow.jpg"}
    transparent = next(crop for crop in made if crop.name == "clear.png")
    assert (values(transparent) == 208).all()
    ours = crops(tmp_path, "torch", 60, [])
    assert [crop.name for crop in ours] == [crop.name for crop in made]


def test_clips_go_the_other_way(media_dir: Path) -> None:
    clip = media_dir / "clips" / "bbb-176x144-mpeg4.mp4"
    told: list[str] = []
    fields: dict[str, Any] = {"pictures": (), "clips": (str(clip),), "clip_frames": 2, "clip_every": 5}
    ours, dalis = (crops(clip, loader, 9, told, **fields) for loader in ("torch", "dali"))
    for one, other in zip(ours, dalis, strict=True):
        assert np.array_equal(one.frames_T3HW, other.frames_T3HW)


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_arrive_and_threads_end(tmp_path: Path, workers: int) -> None:
    some_pictures(tmp_path, 1)
    with pytest.raises(ConfigError, match="three is refused"):
        crops(tmp_path, "dali", 9, [], refused_at_3, workers=workers)
    assert len(crops(tmp_path, "dali", 3, [], refused_at_3, workers=workers)) == 3


def test_without_dali_the_remedy_is_named() -> None:
    code = (
        "import sys; sys.modules['nvidia.dali'] = None\n"
        "from streamsr.errors import ConfigError\n"
        "try:\n    import streamsr.train.loader_dali\nexcept ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("DALI is not installed")
    assert "pip install 'streamsr[dali]'" in done.stdout
