"""What happens to a picture on the device, from decoded planes to planes for the encoder, as one function:

planes -> RGB -> upright -> network (in tiles if need be) -> clamp -> resize to the target -> matrix, chroma -> planes

Legend: N pictures, H x W input pixels."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch

from streamsr.errors import StageFailed
from streamsr.frames import ColorTags, Orientation, PixelLayout
from streamsr.models.registry import Module
from streamsr.models.srvgg import SRVGG
from streamsr.models.weights import Network
from streamsr.runtime.meters import pulse
from streamsr.upscale.pixels import from_rgb, resized, to_rgb
from streamsr.upscale.subpixel import SubpixelTail
from streamsr.upscale.target import Target
from streamsr.upscale.tiles import run_tiled

UPRIGHT = Orientation()


@dataclass(frozen=True, slots=True)
class Look:
    """The sides of a chain: how the decoded pictures are stored, how the encoder wants them, which way is up."""

    layout_in: PixelLayout
    color_in: ColorTags
    layout_out: PixelLayout
    color_out: ColorTags
    orientation: Orientation = UPRIGHT


def network_scales(network: Network) -> tuple[int, ...]:
    """The factors at which a network can run, ascending: an SRVGG can be folded to any divisor of its scale."""
    if network.family != "srvgg":
        return (network.scale,)
    return tuple(factor for factor in range(1, network.scale + 1) if network.scale % factor == 0)


def channels_last(module: Module) -> Module:
    """The module itself, its filters laid out as channels-last pictures want them."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return] # torch's stubs lack it


class Chain:
    """One network on one device in one precision. Calls on different threads must not overlap."""

    def __init__(self, network: Network, look: Look, target: Target, device: torch.device, dtype: torch.dtype) -> None:
        self.look, self.target, self.device, self.dtype = look, target, device, dtype
        self.overlap, self.align = network.tile_overlap, network.align
        self.is_exact = network.tile_overlap >= network.receptive_radius
        module = network.module
        if isinstance(module, SRVGG) and module.scale != target.network_scale:
            module = module.folded(module.scale // target.network_scale)
        self.scale = target.network_scale
        self.module = channels_last(deepcopy(module).to(device, dtype))
        for layer in self.module.modules():
            layer.register_forward_hook(_alive)
        self.tail: SubpixelTail | None = None
        if isinstance(module, SRVGG) and SubpixelTail.fits(self.scale, look.layout_out, look.color_out):
            self.tail = SubpixelTail(self.scale, look.layout_out, look.color_out, device)

    @torch.inference_mode()
    def __call__(self, planes: tuple[torch.Tensor, ...], tile: int) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """Three planes of (N, rows, columns) on the device, uint8 or int16, -> three planes of the output's size, and
        (N, 2): the mean of each picture before and after the network, by which `looks_broken` judges."""
        lr_N3HW = _upright(to_rgb(planes, self.look.layout_in, self.look.color_in), self.look.orientation)
        lr_N3HW = lr_N3HW.contiguous(memory_format=torch.channels_last)
        height, width = lr_N3HW.shape[-2:]
        module = self.module
        if isinstance(module, SRVGG):
            subpixels = run_tiled(
                module.subpixels, lr_N3HW, tile=tile, margin=self.overlap, grid=1, exact=self.is_exact
            )
            means = _means(lr_N3HW, subpixels)
            if self.tail is not None and self.target.is_exact(width, height):
                return self.tail(subpixels), means
            sr_N3YX = torch.nn.functional.pixel_shuffle(subpixels, self.scale)
        else:
            sr_N3YX = run_tiled(
                lambda part: module(part.to(self.dtype)).float(),
                lr_N3HW,
                tile=tile,
                margin=self.overlap,
                grid=self.scale,
                exact=self.is_exact,
                align=self.align,
            )
            means = _means(lr_N3HW, sr_N3YX)
        fitted = resized(sr_N3YX.clamp_(0, 1), self.target.height, self.target.width)
        return from_rgb(fitted, self.look.layout_out, self.look.color_out), means


def _alive(*_: object) -> None:
    """A layer is a sign of life: one picture of a large network takes minutes on a CPU."""
    pulse()


def looks_broken(means_N2: torch.Tensor) -> torch.Tensor:
    """(N,) bool: the network's output holds NaN or infinity, or is black where the input is not. These are the two ways
    in which half precision fails (overflow inside the network, seen with x4plus on several GPUs)."""
    before, after = means_N2.unbind(1)
    return ~torch.isfinite(after) | ((before > 0.02) & (after < 0.1 * before))


def require_sane(means_N2: torch.Tensor, index: int) -> None:
    """Raises StageFailed if even fp32 gives no picture: then the weights are wrong, and no output is better."""
    if bool((~torch.isfinite(means_N2)).any()):
        raise StageFailed(
            "the network's output is not a picture (NaN or infinity), in fp32 too",
            stage="upscale",
            index=index,
            remedy="The checkpoint is damaged or not an upscaling network; try another --model.",
        )


def _upright(rgb_N3HW: torch.Tensor, orientation: Orientation) -> torch.Tensor:
    if orientation.mirrored:
        rgb_N3HW = rgb_N3HW.flip(-1)
    return rgb_N3HW.rot90(-orientation.clockwise // 90, (-2, -1)) if orientation.clockwise else rgb_N3HW


def _means(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    return torch.stack((before.mean((1, 2, 3)), after.mean((1, 2, 3))), 1)
