"""Cutting a picture into tiles that fit into memory, and putting the results together without a seam.

A tile is computed with a margin. With a margin of the network's receptive radius the parts equal the whole, bit for bit
on a CPU in fp32, and are pasted. With less (RRDB sees too far for that) neighbours are blended over half the margin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Span:
    """A tile along one side: it is responsible for [start, stop) and computed from [padded_start, padded_stop)."""

    start: int
    stop: int
    padded_start: int
    padded_stop: int


def plan_spans(length: int, tile: int, margin: int, align: int = 1) -> tuple[Span, ...]:
    """Spans of at most `tile` (rounded up to `align`) that cover [0, length) once, each with up to `margin` around it.
    Padded starts are multiples of `align`."""
    tile = max(align, -(-tile // align) * align)
    margin = -(-margin // align) * align
    return tuple(
        Span(start, min(start + tile, length), max(0, start - margin), min(start + tile + margin, length))
        for start in range(0, length, tile)
    )


def run_tiled(
    network: Callable[[torch.Tensor], torch.Tensor],
    lr_NCHW: torch.Tensor,
    *,
    tile: int,
    margin: int,
    grid: int,
    exact: bool,
    align: int = 1,
) -> torch.Tensor:
    """What `network(lr_NCHW)` gives, computed tile by tile. `grid` is the size of an input pixel in the network's
    result (the scale; 1 for sub-pixels). `tile` 0 means the whole picture at once."""
    height, width = lr_NCHW.shape[-2:]
    if not tile or (tile >= height and tile >= width):
        return network(lr_NCHW)
    result: torch.Tensor | None = None
    weight_sum: torch.Tensor | None = None
    for down in plan_spans(height, tile, margin, align):
        for across in plan_spans(width, tile, margin, align):
            part = network(lr_NCHW[..., down.padded_start : down.padded_stop, across.padded_start : across.padded_stop])
            if result is None:
                shape = (*part.shape[:2], height * grid, width * grid)
                layout = torch.channels_last if grid == 1 else torch.contiguous_format
                result = torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=layout)
                if not exact:
                    result.zero_()
                    weight_sum = torch.zeros(shape[2:], dtype=torch.float32, device=part.device)
            if weight_sum is None:
                _paste(result, part, down, across, grid)
            else:
                _blend(result, weight_sum, part, down, across, grid, margin * grid // 2)
    assert result is not None
    return result if weight_sum is None else result.div_(weight_sum)


def _paste(result: torch.Tensor, part: torch.Tensor, down: Span, across: Span, grid: int) -> None:
    inner = part[
        ...,
        (down.start - down.padded_start) * grid : (down.stop - down.padded_start) * grid,
        (across.start - across.padded_start) * grid : (across.stop - across.padded_start) * grid,
    ]
    result[..., down.start * grid : down.stop * grid, across.start * grid : across.stop * grid].copy_(inner)


def _blend(
    result: torch.Tensor,
    weight_sum: torch.Tensor,
    part: torch.Tensor,
    down: Span,
    across: Span,
    grid: int,
    feather: int,
) -> None:
    height, width = result.shape[-2:]
    rows = slice(down.padded_start * grid, down.padded_stop * grid)
    columns = slice(across.padded_start * grid, across.padded_stop * grid)
    weight = torch.outer(
        _ramp(down, grid, feather, height, part.device), _ramp(across, grid, feather, width, part.device)
    )
    result[..., rows, columns].add_(part * weight.to(part.dtype))
    weight_sum[rows, columns].add_(weight)


def _ramp(span: Span, grid: int, feather: int, length: int, device: torch.device) -> torch.Tensor:
    """1 over the tile itself, falling to 0 over `feather` pixels around it; never 0 inside."""
    at = torch.arange(span.padded_start * grid, span.padded_stop * grid, device=device, dtype=torch.float32) + 0.5
    before = (at - (span.start * grid - feather)) / (2 * feather) if span.start else torch.ones_like(at)
    after = ((span.stop * grid + feather) - at) / (2 * feather) if span.stop * grid < length else torch.ones_like(at)
    return torch.minimum(before, after).clamp_(0, 1)
