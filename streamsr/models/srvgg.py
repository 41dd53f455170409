"""SRVGG: the compact network of the Real-ESRGAN video models. All convolutions run at the input's size; the last one
computes every output pixel of an input pixel as its channels, and a shuffle spreads them.

Parameter names and values are those of basicsr's SRVGGNetCompact with PReLU.

Suffixes: N pictures, H x W input pixels, Y = scale * H, X = scale * W.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SRVGG(nn.Module):
    """`convs` counts the convolutions between the first and the last. `in_channels` equals `out_channels` or is 1."""

    def __init__(self, in_channels: int, out_channels: int, features: int, convs: int, scale: int) -> None:
        super().__init__()
        if in_channels not in (1, out_channels) or min(in_channels, features, scale) < 1 or convs < 0:
            raise ValueError(f"no SRVGG of {in_channels}->{out_channels} channels, {features}x{convs}, scale {scale}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.features, self.convs, self.scale = features, convs, scale
        self.body = nn.ModuleList()
        for before, after in pairwise([in_channels, *[features] * (convs + 1)]):
            self.body += [nn.Conv2d(before, after, 3, padding=1), nn.PReLU(after)]
        self.body.append(nn.Conv2d(features, out_channels * scale**2, 3, padding=1))

    @property
    def receptive_radius(self) -> int:
        """How far an output pixel sees, in input pixels: one for every 3x3 convolution. A tile with this much overlap
        computes the same values as the whole picture."""
        return self.convs + 2

    @property
    def tile_overlap(self) -> int:
        """Practical overlap of tiles in input pixels; here the exact one."""
        return self.receptive_radius

    @property
    def align(self) -> int:
        """Tiles may start anywhere."""
        return 1

    def forward(self, lr_NCHW: Tensor) -> Tensor:
        """sr_NCYX, not clamped, from lr_NCHW in 0..1, in the dtype and on the device of the input."""
        return F.pixel_shuffle(self.subpixels(lr_NCHW), self.scale)

    def subpixels(self, lr_NCHW: Tensor) -> Tensor:
        """The output before the shuffle: (N, C * scale**2, H, W), where channel c * scale**2 + y * scale + x is the
        pixel (y, x) of the square that an input pixel becomes.

        The convolutions run in the parameters' dtype; the picture they correct stays in the input's, so that a
        gradient of 10 bit survives a network of 8 significant bits."""
        features = lr_NCHW.to(next(self.parameters()).dtype)
        for layer in self.body:
            features = layer(features)
        # The network learns the difference to the enlarged input. Adding it before the shuffle adds the same numbers
        # as adding the nearest-neighbour picture after it, without a second picture of the output's size.
        features = features.to(lr_NCHW.dtype)
        pictures, _, height, width = lr_NCHW.shape
        squares = features.view(pictures, self.out_channels, self.scale**2, height, width)
        squares.add_(lr_NCHW.unsqueeze(2))
        return features

    def folded(self, factor: int) -> SRVGG:
        """A network of `scale / factor` whose output is this one's, averaged over squares of `factor` x `factor` pixels
        (before any clamping).

        Last convolution, shuffle and average are linear: averaging the filters of the pixels that fall into one
        square gives the same numbers. The nearest-neighbour base is constant within a square, so it stays as it is.

        Own parameters, on the same device, of the same dtype. Raises ValueError if `factor` does not divide `scale`."""
        if factor < 1 or self.scale % factor:
            raise ValueError(f"scale {self.scale} cannot be folded by {factor}")
        small = self.scale // factor
        state = {name: value.detach().clone() for name, value in self.state_dict().items()}
        for name in (f"body.{len(self.body) - 1}.weight", f"body.{len(self.body) - 1}.bias"):
            full = state[name]
            squares = full.reshape(self.out_channels, small, factor, small, factor, *full.shape[1:])
            state[name] = squares.mean((2, 4)).reshape(-1, *full.shape[1:])
        with torch.device("meta"):
            network = SRVGG(self.in_channels, self.out_channels, self.features, self.convs, small)
        network.load_state_dict(state, assign=True)
        return network.train(self.training).requires_grad_(next(self.parameters()).requires_grad)
