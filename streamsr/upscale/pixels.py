"""YUV planes to RGB and back on the device, in float, with the matrix, range and chroma siting the file states.

Formulas: ITU-T H.273 (matrix coefficients, ranges); chroma is interpolated with the Catmull-Rom cubic and reduced with
[1 2 1]/4 (co-sited) or the mean of two (centred), so that colour edges stay where the source had them.
Legend: N pictures, H x W luma samples."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from streamsr.errors import SourceError
from streamsr.frames import ColorTags, PixelLayout

# (Kr, Kb) by H.273 matrix code point.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
SUPPORTED_MATRICES = frozenset(_LUMA_WEIGHTS) | {0}

# Catmull-Rom weights of the samples at -1, 0, 1, 2 for a point at 0.5, 0.25 and 0.75 between samples 0 and 1.
_HALF = (-0.0625, 0.5625, 0.5625, -0.0625)
_QUARTER = (-0.0703125, 0.8671875, 0.2265625, -0.0234375)
_THREE_QUARTERS = (-0.0234375, 0.2265625, 0.8671875, -0.0703125)


def ycbcr_to_rgb_matrix(code: int) -> torch.Tensor:
    """3x3, applied to (Y in 0..1, Cb and Cr in -0.5..0.5), fp64. Raises SourceError for unsupported code points."""
    if code not in _LUMA_WEIGHTS:
        raise SourceError(
            f"colour matrix {code} is not supported",
            remedy="Convert the file to BT.709 first, for instance with FFmpeg's colorspace filter.",
        )
    kr, kb = _LUMA_WEIGHTS[code]
    kg = 1 - kr - kb
    return torch.tensor(
        [
            [1, 0, 2 * (1 - kr)],
            [1, -2 * kb * (1 - kb) / kg, -2 * kr * (1 - kr) / kg],
            [1, 2 * (1 - kb), 0],
        ],
        dtype=torch.float64,
    )


def code_levels(layout: PixelLayout, color: ColorTags) -> tuple[float, float, float, float]:
    """(luma offset, luma span, chroma offset, chroma span) in code values; RGB planes all use the luma pair."""
    step = 1 << (layout.depth - 8)
    if color.full_range:
        top = (1 << layout.depth) - 1
        return 0.0, float(top), 128.0 * step, float(top)
    return 16.0 * step, 219.0 * step, 128.0 * step, 224.0 * step


def siting(color: ColorTags) -> tuple[bool, bool]:
    """(co-sited horizontally, co-sited vertically) for chroma location 1 left, 2 center, 3 top-left, 4 top."""
    return color.chroma_location in (0, 1, 3), color.chroma_location in (3, 4)


def to_rgb(planes: tuple[torch.Tensor, ...], layout: PixelLayout, color: ColorTags) -> torch.Tensor:
    """rgb_N3HW, fp32, nominally 0..1 and clamped to it, from three integer planes (N, rows, columns)."""
    y_offset, y_span, c_offset, c_span = code_levels(layout, color)
    if layout.is_rgb:
        green, blue, red = (plane.to(torch.float32) for plane in planes)
        return ((torch.stack((red, green, blue), 1) - y_offset) / y_span).clamp_(0, 1)
    luma = planes[0].to(torch.float32)
    height, width = luma.shape[-2:]
    chroma = torch.stack((planes[1], planes[2]), 1).to(torch.float32)
    left, top = siting(color)
    if layout.subsampling == "420":
        chroma = _doubled(chroma, -2, cosited=top)
    if layout.subsampling in ("420", "422"):
        chroma = _doubled(chroma, -1, cosited=left)
    chroma = chroma[..., :height, :width]
    # One affine map from code values: matrix, offsets and spans folded together.
    matrix = ycbcr_to_rgb_matrix(color.matrix)
    spans = torch.tensor([1 / y_span, 1 / c_span, 1 / c_span], dtype=torch.float64)
    offsets = torch.tensor([y_offset, c_offset, c_offset], dtype=torch.float64)
    weight = matrix * spans
    bias = -(weight @ offsets)
    rgb = torch.empty((luma.shape[0], 3, height, width), dtype=torch.float32, device=luma.device)
    for row in range(3):
        torch.mul(luma, float(weight[row, 0]), out=rgb[:, row])
        rgb[:, row].add_(chroma[:, 0], alpha=float(weight[row, 1])).add_(chroma[:, 1], alpha=float(weight[row, 2]))
        rgb[:, row].add_(float(bias[row]))
    return rgb.clamp_(0, 1)


def from_rgb(rgb_N3HW: torch.Tensor, layout: PixelLayout, color: ColorTags) -> tuple[torch.Tensor, ...]:
    """Three integer planes (N, rows, columns) from RGB in 0..1 (values outside are clamped), rounded to nearest.

    uint8 for 8 bit, otherwise int16 whose bits are the code values (layouts of at most 15 bit)."""
    rgb = rgb_N3HW.clamp(0, 1)
    y_offset, y_span, c_offset, c_span = code_levels(layout, color)
    if layout.is_rgb:
        return tuple(_quantised(rgb[:, plane] * y_span, y_offset, layout) for plane in (1, 2, 0))
    forward = torch.linalg.inv(ycbcr_to_rgb_matrix(color.matrix))
    luma = _mixed(rgb, forward[0] * y_span)
    reduced = rgb
    left, top = siting(color)
    if layout.subsampling == "420":
        reduced = _halved(reduced, -2, cosited=top)
    if layout.subsampling in ("420", "422"):
        reduced = _halved(reduced, -1, cosited=left)
    blue, red = (_mixed(reduced, forward[row] * c_span) for row in (1, 2))
    return (
        _quantised(luma, y_offset, layout),
        _quantised(blue, c_offset, layout),
        _quantised(red, c_offset, layout),
    )


def _mixed(rgb_N3HW: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    mixed = rgb_N3HW[:, 0] * float(weights[0])
    return mixed.add_(rgb_N3HW[:, 1], alpha=float(weights[1])).add_(rgb_N3HW[:, 2], alpha=float(weights[2]))


def _quantised(values: torch.Tensor, offset: float, layout: PixelLayout) -> torch.Tensor:
    top = (1 << layout.depth) - 1
    dtype = torch.uint8 if layout.depth == 8 else torch.int16
    return values.add_(offset + 0.5).clamp_(0, top).to(dtype)


def _doubled(x: torch.Tensor, dim: int, *, cosited: bool) -> torch.Tensor:
    """Twice as many samples along `dim`; sample 2i lies on input i (cosited) or a quarter before it."""
    dim = x.ndim + dim
    length = x.shape[dim]
    index = torch.arange(-2, length + 2, device=x.device).clamp_(0, length - 1)
    padded = x.index_select(dim, index)

    def at(weights: tuple[float, ...], first: int) -> torch.Tensor:
        total = padded.narrow(dim, 2 + first, length) * weights[0]
        for step, weight in enumerate(weights[1:], 1):
            total.add_(padded.narrow(dim, 2 + first + step, length), alpha=weight)
        return total

    even = x if cosited else at(_THREE_QUARTERS, -2)
    odd = at(_HALF if cosited else _QUARTER, -1)
    return torch.stack((even, odd), dim + 1).flatten(dim, dim + 1)


def _halved(x: torch.Tensor, dim: int, *, cosited: bool) -> torch.Tensor:
    """Half as many samples (rounded up) along `dim`, the counterpart of `_doubled`."""
    if x.shape[dim] % 2:
        x = torch.cat((x, x.narrow(dim, x.shape[dim] - 1, 1)), dim)
    vertical = dim == -2
    even, odd = (x[..., 0::2, :], x[..., 1::2, :]) if vertical else (x[..., 0::2], x[..., 1::2])
    if not cosited:
        return torch.add(even, odd).mul_(0.5)
    before = torch.cat((even.narrow(dim, 0, 1), odd.narrow(dim, 0, odd.shape[dim] - 1)), dim)
    return torch.add(before, odd).add_(even, alpha=2).mul_(0.25)


def resized(rgb_N3HW: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Bicubic with an antialiasing filter when it shrinks (as Pillow does); unchanged when the size is right."""
    if rgb_N3HW.shape[-2:] == (height, width):
        return rgb_N3HW
    return F.interpolate(rgb_N3HW, (height, width), mode="bicubic", antialias=True, align_corners=False)
