"""RRDB: the residual-in-residual dense network of ESRGAN and of Real-ESRGAN's picture models. For scales below 4 it
first folds squares of pixels into channels (pixel-unshuffle) and then enlarges as ever.

Parameter names and values are those of basicsr's RRDBNet.

Suffixes: N pictures, H x W input pixels, Y = scale * H, X = scale * W.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2  # of the leaky ReLU
RESIDUE = 0.2  # share of a block's result that is added to its input
UNSHUFFLE = {1: 4, 2: 2}  # scale -> side of the squares; basicsr's choice


def conv3x3(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


def activate(features: Tensor) -> Tensor:
    return F.leaky_relu(features, SLOPE, inplace=True)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the results of all before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(features, growth)
        self.conv2 = conv3x3(features + growth, growth)
        self.conv3 = conv3x3(features + 2 * growth, growth)
        self.conv4 = conv3x3(features + 3 * growth, growth)
        self.conv5 = conv3x3(features + 4 * growth, features)

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen.append(activate(conv(torch.cat(seen, 1))))
        # In place, as two roundings: bit for bit what `conv5 * 0.2 + x` gives.
        return torch.Tensor.add_(self.conv5(torch.cat(seen, 1)).mul_(RESIDUE), x)


class ResidualBlock(nn.Module):
    """Three dense blocks with a bridge."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return result.mul_(RESIDUE).add_(x)


class RRDB(nn.Module):
    """`scale` * `unshuffle` is a power of two: the network doubles that often. `unshuffle` defaults to basicsr's."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        scale: int,
        features: int,
        blocks: int,
        growth: int,
        unshuffle: int | None = None,
    ) -> None:
        super().__init__()
        self.unshuffle = UNSHUFFLE.get(scale, 1) if unshuffle is None else unshuffle
        enlarged = scale * self.unshuffle
        if min(in_channels, out_channels, features, blocks, growth, enlarged) < 1 or enlarged & (enlarged - 1):
            raise ValueError(f"no RRDB of scale {scale} with unshuffle {self.unshuffle}, {features}x{blocks}+{growth}")
        self.in_channels, self.out_channels, self.scale = in_channels, out_channels, scale
        self.features, self.blocks, self.growth = features, blocks, growth
        self.conv_first = conv3x3(in_channels * self.unshuffle**2, features)
        self.body = nn.Sequential(*(ResidualBlock(features, growth) for _ in range(blocks)))
        self.conv_body = conv3x3(features, features)
        self.doublings = enlarged.bit_length() - 1
        for number in range(1, self.doublings + 1):
            self.add_module(f"conv_up{number}", conv3x3(features, features))
        self.conv_hr = conv3x3(features, features)
        self.conv_last = conv3x3(features, out_channels)

    @property
    def receptive_radius(self) -> int:
        """How far an output pixel sees, in input pixels.

        On the grid of features: 1 for `conv_first`, 15 for each block (three times five convolutions in a row), 1 for
        `conv_body`. Above it `conv_hr` and `conv_last` reach 2 pixels of the output's grid, and on the way down each
        `conv_up` adds 1 on its own grid and a halving rounds outwards: r becomes ceil((r + 1) / 2), and 2 stays 2. One
        step of that grid is `unshuffle` input pixels; pixels that lie deeper in their square reach one step less to
        that side. x4plus: 349, far more than a tile can carry, hence `tile_overlap`."""
        return (15 * self.blocks + 4) * self.unshuffle

    @property
    def tile_overlap(self) -> int:
        """Practical overlap of tiles in input pixels, not an exact one: 16 steps of the grid (upstream takes 10)."""
        return 16 * self.unshuffle

    @property
    def align(self) -> int:
        """Tiles start at multiples of this many input pixels, or the squares of the unshuffle would shift."""
        return self.unshuffle

    def forward(self, lr_NCHW: Tensor) -> Tensor:
        """sr_NCYX, not clamped, from lr_NCHW in 0..1 of any size, in the dtype and on the device of the parameters."""
        height, width = lr_NCHW.shape[-2:]
        features = self.conv_first(F.pixel_unshuffle(self._padded(lr_NCHW), self.unshuffle))
        features = self.conv_body(self.body(features)).add_(features)
        for number in range(1, self.doublings + 1):
            conv_up = self.get_submodule(f"conv_up{number}")
            features = activate(conv_up(F.interpolate(features, scale_factor=2.0, mode="nearest")))
        sr_NCYX: Tensor = self.conv_last(activate(self.conv_hr(features)))
        return sr_NCYX[..., : height * self.scale, : width * self.scale]

    def _padded(self, lr_NCHW: Tensor) -> Tensor:
        """Mirrored at the right and lower edge up to a multiple of `unshuffle`, as upstream's RealESRGANer does."""
        height, width = lr_NCHW.shape[-2:]
        below, right = -height % self.unshuffle, -width % self.unshuffle
        if not below and not right:
            return lr_NCHW
        mode = "reflect" if below < height and right < width else "replicate"
        return F.pad(lr_NCHW, (0, right, 0, below), mode)
