"""Networks beside bicubic and Lanczos on pictures that training did not see."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamsr.train.cases import Case
from streamsr.train.metrics import Flicker, color_shift, flicker, mean_flicker, niqe, psnr_y, ssim_y
from streamsr.train.page import Page
from streamsr.train.pairs import to_bytes
from streamsr.train.pictures import Picture

Enlarger = Callable[[Tensor], Tensor]
"""lr_3hw uint8 -> sr_3HW uint8, both on the CPU."""
BASELINES = {"bicubic": cv2.INTER_CUBIC, "Lanczos": cv2.INTER_LANCZOS4}
TILE = 320
"""Side in input pixels above which a picture goes through the network in tiles; bounds the memory."""
OVERLAP = 32
"""Of tiles, where the network does not say how far it sees."""


@dataclass(frozen=True, slots=True)
class Row:
    """One picture by one method. `shift`: R, G, B, steps of 255. What was not measured is NaN."""

    group: str
    name: str
    method: str
    psnr: float
    ssim: float
    niqe: float
    psnr_teacher: float
    ssim_teacher: float
    shift: tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A case with a row and a picture for each method."""

    case: Case
    rows: tuple[Row, ...]
    pictures: Mapping[str, Picture] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mean:
    """The rows of a group and a method. `worst_shift`: the largest of one picture and channel, without its sign."""

    group: str
    method: str
    count: int
    psnr: float
    ssim: float
    niqe: float
    psnr_teacher: float
    ssim_teacher: float
    shift: tuple[float, float, float]
    worst_shift: float


def network_enlarger(network: nn.Module, scale: int, fold: int = 1) -> Enlarger:
    """The network on the device of its parameters, in tiles where the picture is large: they overlap by as much as the
    network sees, so that no seam is left (RRDB sees farther than is affordable; its own `tile_overlap` then).

    `fold`: the network enlarges by scale * fold, and its pictures are reduced by area."""
    overlap = int(getattr(network, "tile_overlap", OVERLAP))
    align = int(getattr(network, "align", 1))

    def enlarge(lr_3hw: Tensor) -> Tensor:
        parameter = next(network.parameters())
        height, width = lr_3hw.shape[1:]
        made_3HW = torch.empty(3, height * scale, width * scale, dtype=torch.uint8)
        for top, left in ((y, x) for y in range(0, height, TILE) for x in range(0, width, TILE)):
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            y, x = max(0, top - overlap) // align * align, max(0, left - overlap) // align * align
            part = lr_3hw[:, y : bottom + overlap, x : right + overlap]
            with torch.inference_mode():
                large = network(part[None].to(parameter.device).to(parameter.dtype).div_(255))
                drawn = to_bytes((F.avg_pool2d(large, fold) if fold > 1 else large)[0].float())
            inner = drawn[:, (top - y) * scale : (bottom - y) * scale, (left - x) * scale : (right - x) * scale]
            made_3HW[:, top * scale : bottom * scale, left * scale : right * scale] = inner
        return made_3HW

    return enlarge


def baseline_enlarger(filter_: int, scale: int) -> Enlarger:
    """OpenCV's filter of this number."""

    def enlarge(lr_3hw: Tensor) -> Tensor:
        small = lr_3hw.permute(1, 2, 0).numpy()
        made = cv2.resize(np.ascontiguousarray(small), None, fx=scale, fy=scale, interpolation=filter_)
        return torch.from_numpy(made).permute(2, 0, 1)

    return enlarge


def evaluate(
    methods: Mapping[str, Enlarger], cases: Iterable[Case], scale: int, *, teacher: str = "", with_niqe: bool = False
) -> Iterator[Judged]:
    """Every case by every method, in order; `teacher` is the method whose pictures the others are compared with."""
    for case in cases:
        truth = _hwc(case.gt_3HW)
        made = {name: _hwc(enlarge(case.lr_3hw)) for name, enlarge in methods.items()}
        taught = made.get(teacher)
        rows = []
        for name, picture in made.items():
            other = None if name == teacher else taught
            row = Row(
                case.group,
                case.name,
                name,
                psnr_y(picture, truth, scale),
                ssim_y(picture, truth, scale),
                niqe(picture, scale) if with_niqe else math.nan,
                math.nan if other is None else psnr_y(picture, other, scale),
                math.nan if other is None else ssim_y(picture, other, scale),
                color_shift(picture, truth),
            )
            rows.append(row)
        yield Judged(case, tuple(rows), made)


def _hwc(picture_3HW: Tensor) -> Picture:
    return np.ascontiguousarray(picture_3HW.permute(1, 2, 0).numpy())


def means(rows: Iterable[Row]) -> list[Mean]:
    """By group and method, in the order of their first rows; means over those that are numbers."""
    sorted_rows: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        sorted_rows.setdefault((row.group, row.method), []).append(row)
    return [_mean_of(group, method, part) for (group, method), part in sorted_rows.items()]


def _mean_of(group: str, method: str, rows: list[Row]) -> Mean:
    red, green, blue = (_mean(row.shift[channel] for row in rows) for channel in range(3))
    return Mean(
        group,
        method,
        len(rows),
        _mean(row.psnr for row in rows),
        _mean(row.ssim for row in rows),
        _mean(row.niqe for row in rows),
        _mean(row.psnr_teacher for row in rows),
        _mean(row.ssim_teacher for row in rows),
        (red, green, blue),
        max(abs(value) for row in rows for value in row.shift),
    )


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def measure_flicker(enlarge: Enlarger, clip_T3hw: Tensor) -> Flicker | None:
    """Of a clip of small pictures, uint8; None where nothing stands still."""
    parts, before = [], None
    for lr_3hw in clip_T3hw:
        now = (lr_3hw, enlarge(lr_3hw))
        if before is not None and (part := flicker(before, now)) is not None:
            parts.append(part)
        before = now
    return mean_flicker(parts)


def validate(generator: nn.Module, cases: Iterable[Case], page: Page | None = None) -> dict[str, float]:
    """Means over the cases: "psnr" (dB) and "ssim" on luma, "niqe" (lower is more natural; left out where all pictures
    are too small for it), "psnr_bicubic" and the largest mean "shift" of a channel. The mode of the generator is left
    as it was found; the scale is that of the cases. `page` gets bicubic, result and original of each."""
    kept = list(cases)
    scale = kept[0].gt_3HW.shape[1] // kept[0].lr_3hw.shape[1]
    methods = {"": network_enlarger(generator, scale), "bicubic": baseline_enlarger(cv2.INTER_CUBIC, scale)}
    was_training = generator.training
    generator.eval()
    try:
        judged = list(evaluate(methods, kept, scale))
    finally:
        generator.train(was_training)
    if page is not None:
        for one in judged:
            truth = one.case.gt_3HW.permute(1, 2, 0).numpy()
            named = {"bicubic": one.pictures["bicubic"], "network": one.pictures[""], "original": truth}
            page.add(one.case.name, named, f"{one.rows[0].psnr:.2f} dB, bicubic {one.rows[1].psnr:.2f} dB")
    rows = [row for one in judged for row in one.rows]
    own = [row for row in rows if not row.method]
    found = {
        "psnr": _mean(row.psnr for row in own),
        "ssim": _mean(row.ssim for row in own),
        "niqe": _mean(niqe(one.pictures[""], scale) for one in judged),
        "psnr_bicubic": _mean(row.psnr for row in rows if row.method),
        "shift": max(abs(_mean(row.shift[channel] for row in own)) for channel in range(3)),
    }
    return {name: value for name, value in found.items() if not math.isnan(value)}
