"""A picture that explains a degradation: every step a cell with its name, its numbers and what it made of the picture.

All cells show the same field of the picture, at the same size: pixels of small pictures become squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from streamsr.degrade.pictures import to_rgb
from streamsr.degrade.recipe import Recipe
from streamsr.degrade.sheet import CELL, Cell, Row, draw_sheet
from streamsr.degrade.steps import BlurStep, Step

Rgb = NDArray[np.uint8]

HEADINGS = {
    "truth": "Ground truth",
    "first": "First order",
    "second": "Second order",
    "final": "Final stage: [resize to low resolution, sinc] and JPEG, either one first",
    "video": "Video",
    "result": "Result",
}
FOOTER = "Every cell shows the framed part. Small squares are the kernels, blue where they are negative."
PER_ROW = 4


@dataclass(slots=True)
class Grid:
    """Collects the cells while `degrade` runs: hand it `on_step`, then ask for the drawing.

    `gt_3HW`: the picture before any step; its busiest square of CELL pixels or less is the field that is shown."""

    gt_3HW: Tensor
    scale: int
    recipe: Recipe
    _rows: dict[str, list[Cell]] = field(default_factory=dict)
    _names: list[str] = field(default_factory=list)
    _field: tuple[float, float, float, float] = (0, 0, 1, 1)

    def __post_init__(self) -> None:
        picture = to_rgb(self.gt_3HW)
        self._field = busiest_field(picture, self.scale)
        size = f"{picture.shape[1]}x{picture.shape[0]}"
        whole = Cell("the picture", (size, "the frame is what the cells show"), _thumbnail(picture, self._field))
        self._rows["truth"] = [whole, Cell("ground truth", (size,), _cut(self.gt_3HW, self._field))]

    def on_step(self, step: Step, x_T3HW: Tensor) -> None:
        """Takes the last picture after `step`."""
        stage, _, deed = step.name.partition(" ")
        self._names.append(step.name)
        kernel = step.kernel.matrix() if isinstance(step, BlurStep) else None
        words = _words(step.parameters)
        cell = Cell(f"{len(self._names)}  {deed}", words, _cut(x_T3HW[-1], self._field), kernel)
        self._rows.setdefault(stage if stage in HEADINGS else "video", []).append(cell)

    def draw(self, title: str, lr_3hw: Tensor) -> Rgb:
        """The sheet, HWC RGB; `lr_3hw` is the result, shown last."""
        size = f"{lr_3hw.shape[2]}x{lr_3hw.shape[1]}, rounded to 8 bit"
        last = next((stage for stage in ("video", "final") if stage in self._rows), "result")
        result = Cell("low resolution", (size,), _cut(lr_3hw, self._field))
        cells = {**self._rows, last: [*self._rows.get(last, []), result]}
        missing = left_out(self.recipe, self._names)
        rows = []
        for stage in (stage for stage in HEADINGS if stage in cells):
            for at in range(0, len(cells[stage]), PER_ROW):
                heading = f"{HEADINGS[stage]}, continued" if at else _heading(stage, missing)
                rows.append(Row(heading, cells[stage][at : at + PER_ROW], follows=at > 0))
        return draw_sheet(title, rows, FOOTER)


def left_out(recipe: Recipe, names: Sequence[str]) -> list[str]:
    """Names of the steps that the recipe may take and that chance left out."""
    chances = {"final sinc": recipe.final.sinc_prob, "final jpeg": recipe.final.jpeg_prob}
    for stage, order in (("first", recipe.first), ("second", recipe.second)):
        if order is not None:
            chances |= {f"{stage} {deed}": getattr(order, f"{deed}_prob") for deed in ("blur", "noise", "jpeg")}
    return [name for name, chance in chances.items() if chance > 0 and name not in names]


def busiest_field(picture: Rgb, scale: int) -> tuple[float, float, float, float]:
    """(top, left, bottom, right) as shares of the height and width: the square of CELL pixels, or of the smaller side,
    with the strongest edges, of things rather than of grain; its corner lies on a multiple of `scale`."""
    height, width = picture.shape[:2]
    side = min(height, width, CELL)
    gray = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 2)
    edges = cv2.Sobel(gray, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(gray, cv2.CV_32F, 0, 1) ** 2
    total = cv2.integral(np.sqrt(edges).clip(40) - 40)
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    sums = sums[::scale, ::scale]
    top, left = (int(at) * scale for at in np.unravel_index(int(sums.argmax()), sums.shape))
    return top / height, left / width, (top + side) / height, (left + side) / width


def _heading(stage: str, missing: Sequence[str]) -> str:
    deeds = [name.partition(" ")[2] for name in missing if name.startswith(stage)]
    return HEADINGS[stage] + (f"   (left out this time: {', '.join(deeds)})" if deeds else "")


def _words(parameters: Mapping[str, str | float | int]) -> tuple[str, ...]:
    return tuple(f"{name} {value}" for name, value in parameters.items())


def _cut(x_3HW: Tensor, place: tuple[float, float, float, float]) -> Rgb:
    """The field of a picture of any size, at least one pixel of it, CELL pixels square."""
    height, width = x_3HW.shape[1:]
    top, left = min(round(place[0] * height), height - 1), min(round(place[1] * width), width - 1)
    bottom, right = max(round(place[2] * height), top + 1), max(round(place[3] * width), left + 1)
    field_rgb = to_rgb(x_3HW[:, top:bottom, left:right])
    mode = cv2.INTER_NEAREST if bottom - top < CELL else cv2.INTER_AREA
    return np.asarray(cv2.resize(field_rgb, (CELL, CELL), interpolation=mode), np.uint8)


def _thumbnail(picture: Rgb, place: tuple[float, float, float, float]) -> Rgb:
    """The whole picture within CELL pixels, the field framed."""
    factor = CELL / max(picture.shape[:2])
    rows, columns = (max(round(side * factor), 1) for side in picture.shape[:2])
    small = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST)
    top, left, bottom, right = (
        round(at * side) for at, side in zip(place, (rows, columns, rows, columns), strict=True)
    )
    for color, grown in (((255, 255, 255), 2), ((220, 40, 40), 0), ((220, 40, 40), 1)):
        cv2.rectangle(small, (left + grown, top + grown), (right - 1 - grown, bottom - 1 - grown), color, 1)
    canvas = np.full((CELL, CELL, 3), 255, np.uint8)
    canvas[:rows, :columns] = small
    return canvas
