"""The picture that explains: everything is on it, and each cell shows what its step made."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamsr.degrade.grid import Grid, busiest_field, left_out
from streamsr.degrade.kernels import Kernel
from streamsr.degrade.process import degrade
from streamsr.degrade.recipe import load_recipe
from streamsr.degrade.sheet import CELL, Cell, Row, draw_sheet
from streamsr.degrade.steps import BlurStep

X4PLUS = load_recipe("x4plus")


def picture(height: int = 400, width: int = 480) -> torch.Tensor:
    x = torch.full((3, height, width), 0.5)
    x[:, 100:300:20, 150:400] = torch.tensor([0.9, 0.3, 0.1]).view(3, 1, 1)
    return x


def drawn(recipe_name: str, seed: int, size: tuple[int, int] = (400, 480)) -> tuple[np.ndarray, Grid]:
    recipe = load_recipe(recipe_name)
    grid = Grid(picture(*size), 4, recipe)
    done = degrade(picture(*size)[None], recipe, 4, seed, grid.on_step)
    return grid.draw("title", done.lr_T3hw[-1]), grid


def rows_of(sheet: np.ndarray) -> int:
    """Rows of cells, counted by their blue headings."""
    blue = ((sheet[:, :200, 2] > 150) & (sheet[:, :200, 0] < 60)).any(1)
    return int(np.diff(np.concatenate([[0], blue.astype(int)])).clip(0).sum())


def test_both_orders_and_the_final_stage_are_visible() -> None:
    sheet, _ = drawn("x4plus", 7)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 2 * 28 + 4 * CELL + 3 * 34
    assert sheet.shape[0] > 4 * CELL
    assert rows_of(sheet) >= 4


def test_a_first_order_recipe_has_fewer_rows() -> None:
    assert drawn("classical", 7)[0].shape[0] < drawn("x4plus", 7)[0].shape[0]


@pytest.mark.parametrize("size", [(4, 8), (40, 32), (400, 20)])
def test_small_and_narrow_pictures(size: tuple[int, int]) -> None:
    assert drawn("x4plus", 3, size)[0].shape[0] > 4 * CELL


def test_a_cell_shows_the_field_enlarged_by_whole_pixels() -> None:
    low = torch.rand(3, 100, 120, generator=torch.Generator().manual_seed(1))
    grid = Grid(picture(), 4, X4PLUS)
    sheet = grid.draw("title", low)
    side = CELL // 4
    levels = (low * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    top, left = (round(at * whole) for at, whole in zip(busiest(picture()), (100, 120), strict=True))
    enlarged = levels[top : top + side, left : left + side].repeat(4, 0).repeat(4, 1)
    windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], (4, CELL))
    assert (windows == enlarged[:4, :, 0]).all((2, 3)).any(), "the result is on the sheet, pixel by pixel"


def busiest(gt: torch.Tensor) -> tuple[float, float]:
    return busiest_field((gt * 255).to(torch.uint8).permute(1, 2, 0).numpy(), 4)[:2]


def test_the_field_is_where_things_are() -> None:
    gray = np.full((900, 1200, 3), 128, np.uint8)
    gray += np.random.default_rng(1).integers(0, 3, gray.shape, np.uint8)
    gray[600:700, 800:1000:10] = 20
    top, left, bottom, right = busiest_field(gray, 4)
    assert top * 900 <= 600
    assert left * 1200 <= 800
    assert bottom * 900 >= 696
    assert right * 1200 >= 992
    assert round(top * 900) % 4 == round(left * 1200) % 4 == 0
    assert round((bottom - top) * 900) == round((right - left) * 1200) == CELL


def test_what_chance_left_out_is_named() -> None:
    names = ["first blur", "first resize", "first noise", "first jpeg", "second resize", "second noise", "final jpeg"]
    assert left_out(X4PLUS, names) == ["final sinc", "second blur"]
    assert left_out(load_recipe("classical"), names) == []


def test_kernels_are_drawn_with_their_sign() -> None:
    grid = Grid(picture(), 4, X4PLUS)
    grid.on_step(BlurStep("first blur", Kernel("sinc", 21, cutoff=1.0)), picture()[None])
    sheet = grid.draw("title", picture(100, 120))
    assert ((sheet[..., 2].astype(int) - sheet[..., 0]) > 60).sum() > 200


def test_more_cells_than_a_row_holds_go_on_below() -> None:
    grid = Grid(picture(), 4, X4PLUS)
    before = grid.draw("title", picture(100, 120)).shape
    for number in range(6):
        grid.on_step(BlurStep(f"video codec {number}", Kernel("iso", 7, 1.0)), picture()[None])
    after = grid.draw("title", picture(100, 120)).shape
    assert after[1] == 2 * 28 + 4 * CELL + 3 * 34
    assert after[0] > before[0] + CELL


def test_long_titles_and_many_facts_stay_on_the_sheet() -> None:
    cell = Cell("name", tuple(f"fact number {number}" for number in range(30)), np.zeros((CELL, CELL, 3), np.uint8))
    sheet = draw_sheet("long " * 100, [Row("heading", [cell])], "footer")
    assert sheet.shape[1] == 2 * 28 + 4 * CELL + 3 * 34
    assert (sheet[:, -20:] == 255).all()
