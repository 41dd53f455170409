"""How one picture of a preview is upscaled: as stored -> upright RGB of the size wanted -> network -> I420."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F

from streamsr.frames import ColorTags, Frame, PixelLayout, Stamp
from streamsr.live_frames import LiveInfo
from streamsr.models.weights import Network
from streamsr.runtime.gate import Gate
from streamsr.runtime.slots import SlotRing
from streamsr.upscale.batches import Batch
from streamsr.upscale.chain import Look
from streamsr.upscale.device import DevicePlan
from streamsr.upscale.engine import Engine
from streamsr.upscale.memory import plan_budget
from streamsr.upscale.pixels import to_rgb
from streamsr.upscale.target import Target

SHOWN_LAYOUT = PixelLayout("420", 8)
SHOWN_COLOR = ColorTags(matrix=6, primaries=6, transfer=6, chroma_location=2)
"""How upscaled pictures are handed out: I420 as OpenCV, WebRTC and video encoders take it, BT.601, limited range."""
RGB_LAYOUT = PixelLayout("444", 8, is_rgb=True)
RGB_COLOR = ColorTags(matrix=0, full_range=True, chroma_location=1)
STAMP = Stamp(0, 0, 0, Fraction(1))


class PreviewUpscaler:
    """One network for pictures of one size, on the first device of the plan. One thread; `close` on the same."""

    def __init__(
        self,
        network: Network,
        size_in: tuple[int, int],
        target: Target,
        plan: DevicePlan,
        tile: int,
        notice: Callable[[str], None],
    ) -> None:
        self.size_in, self.target = size_in, target
        device = plan.devices[0]
        budget = plan_budget(network, device, plan.dtype.itemsize, *size_in, 1, tile)
        self._gate = Gate()
        self._slots = SlotRing(1, SHOWN_LAYOUT.num_bytes(target.width, target.height))
        look = Look(RGB_LAYOUT, RGB_COLOR, SHOWN_LAYOUT, SHOWN_COLOR)
        try:
            self._engine = Engine(network, look, target, device, plan.dtype, budget, self._slots, notice)
        except BaseException:
            self._slots.close()
            raise

    def upscale(self, rgb: np.ndarray) -> tuple[np.ndarray, ...]:
        """(H, W, 3) RGB of `size_in` -> planes Y, U, V of `target`'s size, which are overwritten by the next call."""
        width, height = self.size_in
        planes = tuple(rgb[:, :, channel] for channel in (1, 2, 0))
        slot = self._slots.lease(self._gate, 1.0)
        try:
            frame = Frame(STAMP, planes, RGB_LAYOUT, width, height)
            for _ in self._engine.upscale(iter((Batch((frame,), (slot,)),))):
                pass
        finally:
            slot.release()
        return SHOWN_LAYOUT.planes_of(slot.memory, self.target.width, self.target.height)

    def close(self) -> None:
        self._engine.close()
        self._slots.close()


@torch.inference_mode()
def as_rgb(memory: memoryview, info: LiveInfo, size: tuple[int, int], device: torch.device) -> np.ndarray:
    """(H, W, 3) RGB uint8, upright, `size` (width, height) large, from a picture as `info` says it is stored."""
    width, height = (size[1], size[0]) if info.orientation.swaps_sides else size
    planes = []
    for plane, shape in zip(
        info.layout.planes_of(memory, info.width, info.height), info.layout.plane_shapes(width, height), strict=True
    ):
        samples = torch.from_numpy(plane if plane.dtype == np.uint8 else plane.view(np.int16)).to(device)[None]
        if samples.shape[1:] != shape:
            # Before RGB is made: a camera may send ten times the pixels that a CPU can upscale in time.
            samples = F.interpolate(samples[None].float(), shape, mode="bilinear", antialias=True)[0]
        planes.append(samples)
    rgb_HW3 = to_rgb((planes[0], planes[1], planes[2]), info.layout, info.color)[0].permute(1, 2, 0)
    if info.orientation.mirrored:
        rgb_HW3 = rgb_HW3.flip(1)
    if info.orientation.clockwise:
        rgb_HW3 = rgb_HW3.rot90(-info.orientation.clockwise // 90, (0, 1))
    return np.asarray(rgb_HW3.mul(255).add_(0.5).to(torch.uint8).contiguous().cpu().numpy())
