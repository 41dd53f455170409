"""The way out of a sub-pixel network, without an RGB picture of the output's size.

An SRVGG computes all r * r output pixels of an input pixel as its channels. Clamping needs no neighbours, and matrix,
reduction of chroma and quantisation are one affine map within that square; only left-sited chroma looks one pixel to
the left, into the neighbouring square. So: clamp, one small convolution (channels -> code values), round, and shuffle
bytes instead of floats. The result is that of shuffle + `pixels.from_rgb`, up to the rounding of float.

Legend: N pictures, H x W input pixels, r = scale, S = r * r pixels of a square, colours in the order R, G, B."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from streamsr.frames import ColorTags, PixelLayout
from streamsr.upscale.pixels import code_levels, siting, ycbcr_to_rgb_matrix

LENT = 0.25  # the outer weights of [1 2 1] / 4


class SubpixelTail:
    """sub-pixels (N, 3 * S, H, W), fp32, any range -> three integer planes (N, rows, columns) of r times the size."""

    def __init__(self, scale: int, layout: PixelLayout, color: ColorTags, device: torch.device) -> None:
        if not self.fits(scale, layout, color):
            raise ValueError(f"{layout} {color} does not fit squares of {scale}x{scale}")
        r, self.scale, self.layout = scale, scale, layout
        chroma_rows = r // 2 if layout.subsampling == "420" else r
        chroma_columns = r if layout.subsampling == "444" else r // 2
        self.squares = ((r, r), (chroma_rows, chroma_columns), (chroma_rows, chroma_columns))
        self.borrows = layout.subsampling != "444" and siting(color)[0]
        y_offset, y_span, c_offset, c_span = code_levels(layout, color)
        down, across = _reduction(r, chroma_rows, cosited=False), _reduction(r, chroma_columns, cosited=self.borrows)
        luma_map, chroma_map = torch.eye(r * r), torch.kron(down, across)
        if layout.is_rgb:  # stored as G, B, R
            colours, maps, offsets = torch.eye(3)[[1, 2, 0]] * y_span, [luma_map] * 3, [y_offset] * 3
        else:
            spans = torch.tensor([[y_span], [c_span], [c_span]], dtype=torch.float64)
            colours = (torch.linalg.inv(ycbcr_to_rgb_matrix(color.matrix)) * spans).to(torch.float32)
            maps, offsets = [luma_map, chroma_map, chroma_map], [y_offset, c_offset, c_offset]
        rows = [torch.kron(colour, part) for colour, part in zip(colours, maps, strict=True)]
        bias = [torch.full((len(part),), offset + 0.5) for part, offset in zip(maps, offsets, strict=True)]
        kernel = torch.cat(rows).view(-1, 3 * r * r, 1, 1)
        if self.borrows:
            # What the first chroma column of a square takes from the last column of the square to its left.
            from_left = torch.zeros(chroma_columns, r)
            from_left[0, r - 1] = LENT
            lent = torch.zeros_like(kernel)
            for plane in (1, 2):
                taken = torch.kron(colours[plane], torch.kron(down, from_left))
                lent[r * r + (plane - 1) * len(taken) :][: len(taken)] = taken.view(len(taken), -1, 1, 1)
            kernel = torch.cat((lent, kernel), 3)
        self.kernel = kernel.to(device, memory_format=torch.channels_last)
        self.bias = torch.cat(bias).to(device)

    @staticmethod
    def fits(scale: int, layout: PixelLayout, color: ColorTags) -> bool:
        """False where a chroma sample spans more than its square and the one to the left."""
        return layout.subsampling == "444" or (scale % 2 == 0 and not siting(color)[1])

    def __call__(self, subpixels_NCHW: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """uint8 for 8 bit, otherwise int16. Overwrites its input; fastest when that is channels-last."""
        pictures, _, height, width = subpixels_NCHW.shape
        colours_NCHW = subpixels_NCHW.clamp_(0, 1)
        codes_NKHW = F.conv2d(colours_NCHW, self.kernel, self.bias, padding=(0, int(self.borrows)))[..., :width]
        if self.borrows:
            self._repeat_edge(codes_NKHW[..., 0], colours_NCHW[..., 0])
        dtype = torch.uint8 if self.layout.depth == 8 else torch.int16
        codes = codes_NKHW.clamp_(0, (1 << self.layout.depth) - 1).to(dtype).permute(0, 2, 3, 1)
        planes, at = [], 0
        for rows, columns in self.squares:
            part = codes[..., at : at + rows * columns].unflatten(-1, (rows, columns))
            planes.append(part.permute(0, 1, 3, 2, 4).reshape(pictures, height * rows, width * columns))
            at += rows * columns
        return tuple(planes)

    def _repeat_edge(self, codes_NKH: torch.Tensor, colours_NCH: torch.Tensor) -> None:
        """Left of the picture lies its first column once more, where the convolution saw zeros."""
        r = self.scale
        beyond = torch.zeros_like(colours_NCH)
        beyond[:, r - 1 :: r] = colours_NCH[:, 0::r]
        codes_NKH.add_(torch.einsum("kc,nch->nkh", self.kernel[:, :, 0, 0], beyond))


def _reduction(full: int, reduced: int, *, cosited: bool) -> torch.Tensor:
    """(reduced, full): how the pixels of a square make its reduced samples; without the share `LENT` that the first
    co-sited sample takes from the pixel to the left of the square."""
    weights = torch.zeros(reduced, full)
    for sample in range(reduced):
        if full == reduced:
            weights[sample, sample] = 1
        elif cosited:
            weights[sample, max(2 * sample - 1, 0) : 2 * sample + 2] = LENT
            weights[sample, 2 * sample] = 0.5
        else:
            weights[sample, 2 * sample : 2 * sample + 2] = 0.5
    return weights
