"""Rows of captioned pictures on one sheet, drawn with Pillow (which torchvision brings)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Rgb = NDArray[np.uint8]

CELL = 288
"""Side of a cell's picture; a multiple of the usual scales, so that small pictures enlarge evenly."""
_GAP, _MARGIN, _INSET = 34, 28, 76
_TITLE, _HEADING, _NAME, _TEXT = 30, 21, 18, 15
"""Sizes of the four kinds of writing, in pixels."""
_LINES = 3
_INK, _GRAY, _ACCENT, _PAPER = (25, 25, 30), (95, 95, 105), (20, 90, 170), (255, 255, 255)
_NAME_PITCH, _LINE_PITCH, _HEADING_PITCH = 24, 19, 40


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A picture of CELL x CELL with its name and facts under it; `kernel` is drawn into its corner."""

    name: str
    facts: tuple[str, ...]
    picture: Rgb = field(repr=False)
    kernel: NDArray[np.float64] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Cells under a heading, in the order in which they follow from each other; the first one too if `follows`."""

    heading: str
    cells: Sequence[Cell]
    follows: bool = False


def draw_sheet(title: str, rows: Sequence[Row], footer: str) -> Rgb:
    """The sheet, HWC RGB, as wide as its longest row, or four cells. A title that is too long is cut."""
    columns = max(4, max(len(row.cells) for row in rows))
    width = 2 * _MARGIN + columns * CELL + (columns - 1) * _GAP
    heights = [_row_height(row) for row in rows]
    height = 2 * _MARGIN + _TITLE + 18 + sum(heights) + _LINE_PITCH
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), _cut_to(title, width - 2 * _MARGIN, _TITLE), _INK, _font(_TITLE))
    top = _MARGIN + _TITLE + 18
    for row, pitch in zip(rows, heights, strict=True):
        _draw_row(sheet, pen, row, top)
        top += pitch
    pen.text((_MARGIN, top), footer, _GRAY, _font(_TEXT))
    return np.asarray(sheet)


def _draw_row(sheet: Image.Image, pen: ImageDraw.ImageDraw, row: Row, top: int) -> None:
    pen.text((_MARGIN, top + 6), row.heading, _ACCENT, _font(_HEADING))
    top += _HEADING_PITCH
    for number, cell in enumerate(row.cells):
        left = _MARGIN + number * (CELL + _GAP)
        sheet.paste(Image.fromarray(cell.picture), (left, top))
        if cell.kernel is not None:
            sheet.paste(Image.fromarray(_kernel_picture(cell.kernel)), (left + CELL - _INSET, top + CELL - _INSET))
        if number or row.follows:
            middle, tip = top + CELL // 2, left - 9
            pen.polygon([(tip, middle), (tip - 16, middle - 11), (tip - 16, middle + 11)], fill=_ACCENT)
        under = top + CELL + 8
        pen.text((left, under), cell.name, _INK, _font(_NAME))
        for place, line in enumerate(_wrapped(cell.facts)):
            pen.text((left, under + _NAME_PITCH + place * _LINE_PITCH), line, _GRAY, _font(_TEXT))


def _row_height(row: Row) -> int:
    lines = max(len(_wrapped(cell.facts)) for cell in row.cells)
    return _HEADING_PITCH + CELL + 8 + _NAME_PITCH + lines * _LINE_PITCH + 14


def _wrapped(facts: Sequence[str]) -> list[str]:
    """The facts in lines no wider than a cell, broken between facts; what is beyond _LINES is left out."""
    lines: list[str] = []
    for fact in facts:
        longer = f"{lines[-1]}, {fact}" if lines else fact
        if lines and _font(_TEXT).getlength(longer) <= CELL:
            lines[-1] = longer
        else:
            lines.append(fact)
    return lines[:_LINES]


def _cut_to(text: str, width: int, size: int) -> str:
    cut = text
    while cut and _font(size).getlength(cut) > width:
        cut = cut[:-1]
    return cut if cut == text else f"{cut[:-3]}..."


def _kernel_picture(kernel: NDArray[np.float64]) -> Rgb:
    """The kernel as squares in a white frame: its greatest value is white, 0 black, negative values are blue."""
    values = kernel / np.abs(kernel).max()
    # The root lets the wide, faint part of a kernel be seen.
    light = np.sqrt(np.abs(values))[..., None] * np.where(values[..., None] < 0, (60, 120, 255), (255, 255, 255))
    side = _INSET - 4
    squares = cv2.resize(light.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.copyMakeBorder(squares, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255)), np.uint8)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
