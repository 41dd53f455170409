"""The embedded model: what it is, that it is the one whose hash is published, and that it beats bicubic enlargement."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from streamsr.models.weights import load_network

WEIGHTS = Path(__file__).parents[2] / "weights"
LITE = WEIGHTS / "lite.safetensors"
HELD_OUT = ("cartoon/glitch-cubi_fox.png", "cartoon/dicebear-micah-1.png", "natural/skimage-astronaut.png")
"""Never seen in training: configs/data/held-out.toml."""

Picture = npt.NDArray[np.uint8]


def enlarged(low: Picture, network: torch.nn.Module) -> Picture:
    lr_N3HW: Tensor = torch.from_numpy(low).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        made = network(lr_N3HW)[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
    return np.asarray(made.contiguous().numpy(), np.uint8)


def bicubic(low: Picture) -> Picture:
    return np.asarray(cv2.resize(low, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC), np.uint8)


def reduced(picture: Picture) -> Picture:
    return np.asarray(cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), np.uint8)


def decibels(one: Picture, other: Picture) -> float:
    error = (one.astype(np.float64) - other)[4:-4, 4:-4]
    return float(10 * np.log10(255**2 / np.square(error).mean()))


def drawing() -> Picture:
    """Smooth line art, 256 x 256: dark outlines round flat colours."""
    picture = np.full((1024, 1024, 3), (236, 216, 190), np.uint8)
    rng = np.random.default_rng(5)
    for _ in range(24):
        centre = tuple(int(v) for v in rng.integers(100, 924, 2))
        axes = tuple(int(v) for v in rng.integers(40, 220, 2))
        turn, colour = float(rng.uniform(0, 180)), tuple(int(v) for v in rng.integers(30, 256, 3))
        cv2.ellipse(picture, centre, axes, turn, 0, 360, colour, cv2.FILLED, cv2.LINE_AA)
        cv2.ellipse(picture, centre, axes, turn, 0, 360, (24, 20, 28), 14, cv2.LINE_AA)
    return reduced(picture)


def held_out(name: str) -> Picture:
    folder = os.environ.get("STREAMSR_TRAIN")
    if not folder:
        pytest.skip("set STREAMSR_TRAIN to the folder with cartoon/ and natural/")
    picture = cv2.imread(str(Path(folder) / name), cv2.IMREAD_COLOR)
    assert picture is not None, f"{name} is not in {folder}"
    height, width = (min(side, 640) // 4 * 4 for side in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return np.ascontiguousarray(picture[top : top + height, left : left + width, ::-1], np.uint8)


def test_published_hash_is_that_of_the_file() -> None:
    lines = (WEIGHTS / "SHA256SUMS").read_text().splitlines()
    published = {name.strip(): digest for digest, name in (line.split(maxsplit=1) for line in lines)}
    assert published["lite.safetensors"] == hashlib.sha256(LITE.read_bytes()).hexdigest()


def test_is_a_small_srvgg() -> None:
    network = load_network("lite")
    assert network.path == LITE
    assert (network.family, network.scale) == ("srvgg", 4)
    assert (network.architecture.features, network.architecture.depth) == (32, 6)
    assert LITE.stat().st_size < 500_000


def test_header_tells_its_origin() -> None:
    with safe_open(LITE, "pt") as file:
        header = file.metadata()
    assert (header["format"], header["name"], header["scale"], header["license"]) == ("pt", "lite", "4", "BSD-3-Clause")
    assert "animevideov3" in header["teacher"]
    assert (header["recipe"], header["steps"]) == ("lite", "16000")


def test_draws_lines_better_than_bicubic() -> None:
    truth = drawing()
    low = reduced(truth)
    assert decibels(enlarged(low, load_network("lite").module), truth) > decibels(bicubic(low), truth) + 1


@pytest.mark.parametrize("level", [0, 37, 128, 255])
def test_leaves_flat_colour_flat(level: int) -> None:
    flat = np.full((24, 24, 3), level, np.uint8)
    made = enlarged(flat, load_network("lite").module).astype(int)[32:-32, 32:-32]
    assert np.abs(made - level).max() <= 2
    assert made.max() - made.min() <= 2  # a grid of the 4x4 sub-pixels would show here


@pytest.mark.parametrize("name", HELD_OUT)
def test_beats_bicubic_on_real_pictures_without_a_cast(name: str) -> None:
    truth = held_out(name)
    low = reduced(truth)
    made = enlarged(low, load_network("lite").module)
    assert decibels(made, truth) > decibels(bicubic(low), truth) + 0.3
    assert np.abs((made.astype(np.float64) - truth).mean(axis=(0, 1))).max() < 0.5


@pytest.mark.parametrize("name", HELD_OUT)
def test_is_nearer_to_its_teacher_than_bicubic(name: str) -> None:
    folder = os.environ.get("STREAMSR_WEIGHTS")
    if not folder:
        pytest.skip("set STREAMSR_WEIGHTS to the folder with realesr-animevideov3.pth")
    low = reduced(held_out(name))
    drawn = enlarged(low, load_network(Path(folder) / "realesr-animevideov3.pth").module)
    made, plain = enlarged(low, load_network("lite").module), bicubic(low)
    # What the teacher adds to bicubic and what lite adds to it go the same way.
    added, wanted = (made.astype(float) - plain).ravel(), (drawn.astype(float) - plain).ravel()
    assert np.corrcoef(added, wanted)[0, 1] > 0.5
    assert decibels(made, drawn) > decibels(plain, drawn)
