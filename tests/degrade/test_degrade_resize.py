"""Resizing against OpenCV, Pillow and sampling by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from streamsr.degrade.recipe import Mode
from streamsr.degrade.steps import ResizeStep

SIZES = ((24, 36), (71, 40), (31, 17), (100, 130))


def picture() -> torch.Tensor:
    return torch.rand(2, 3, 48, 72, generator=torch.Generator().manual_seed(3))


def planes(x: torch.Tensor) -> list[np.ndarray]:
    return [np.ascontiguousarray(one.permute(1, 2, 0).numpy()) for one in x]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("mode", "flag"), [("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)])
def test_bilinear_and_bicubic_are_opencvs(mode: Mode, flag: int, size: tuple[int, int]) -> None:
    out = ResizeStep("first resize", size, 1.0, mode).apply(picture())
    assert out.shape == (2, 3, *size)
    for ours, given in zip(planes(out), planes(picture()), strict=True):
        np.testing.assert_allclose(ours, cv2.resize(given, size[::-1], interpolation=flag), atol=2e-4)


def test_area_is_the_mean_of_what_a_pixel_covers() -> None:
    out = ResizeStep("first resize", (16, 24), 1 / 3, "area").apply(picture())
    for ours, given in zip(planes(out), planes(picture()), strict=True):
        np.testing.assert_allclose(ours, given.reshape(16, 3, 24, 3, 3).mean((1, 3)), atol=1e-6)
        np.testing.assert_allclose(ours, cv2.resize(given, (24, 16), interpolation=cv2.INTER_AREA), atol=1e-6)
    uneven = ResizeStep("first resize", (7, 7), 0.15, "area").apply(picture())[0, 0]
    # whole pixels, from the floor of where a cell begins to the ceiling of where it ends
    rows = [slice(48 * at // 7, -(-48 * (at + 1) // 7)) for at in range(7)]
    columns = [slice(72 * at // 7, -(-72 * (at + 1) // 7)) for at in range(7)]
    given = picture()[0, 0].numpy()
    by_hand = np.array([[given[row, column].mean() for column in columns] for row in rows])
    np.testing.assert_allclose(uneven.numpy(), by_hand, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("mode", "flag"),
    [("smooth bilinear", Image.Resampling.BILINEAR), ("smooth bicubic", Image.Resampling.BICUBIC)],
)
def test_the_smooth_ones_are_pillows(mode: Mode, flag: Image.Resampling, size: tuple[int, int]) -> None:
    out = ResizeStep("first resize", size, 1.0, mode).apply(picture())
    theirs = np.asarray(Image.fromarray(picture()[1, 2].numpy(), "F").resize(size[::-1], flag))
    np.testing.assert_allclose(out[1, 2].numpy(), theirs, atol=1e-5)


def test_by_factor_coordinates_follow_the_factor_and_not_the_sizes() -> None:
    """As `interpolate(scale_factor=...)` of the published program: the rest beyond the last whole pixel is cut off."""
    factor = 0.37
    size = (int(48 * factor), int(72 * factor))
    out = ResizeStep("first resize", size, factor, "bilinear", is_by_factor=True).apply(picture())
    at = [
        np.clip((np.arange(side) + 0.5) / factor - 0.5, 0, whole - 1)
        for side, whole in zip(size, (48, 72), strict=True)
    ]
    rows, columns = (torch.from_numpy(places).float() for places in at)
    given = picture()[0, 0]
    r0, c0 = rows.floor().long(), columns.floor().long()
    r1, c1 = (r0 + 1).clamp(max=47), (c0 + 1).clamp(max=71)
    fr, fc = (rows - r0)[:, None], (columns - c0)[None]
    top = given[r0][:, c0] * (1 - fc) + given[r0][:, c1] * fc
    low = given[r1][:, c0] * (1 - fc) + given[r1][:, c1] * fc
    torch.testing.assert_close(out[0, 0], top * (1 - fr) + low * fr, atol=1e-4, rtol=0)


def test_keeping_the_size_keeps_the_picture() -> None:
    for mode in ("area", "bilinear", "bicubic"):
        for is_by_factor in (True, False):
            out = ResizeStep("first resize", (48, 72), 1.0, mode, is_by_factor).apply(picture())
            torch.testing.assert_close(out, picture(), atol=1e-6, rtol=0)
