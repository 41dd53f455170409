"""The steps of a video as frozen values, each a function of the pictures of a clip: T3HW float32, RGB, 0..1.

They work on 8-bit pictures, as video does: what comes in is rounded to whole 255ths. None has a gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from streamsr.frames import Subsampling
from streamsr.media.chroma import Picture, Scaling, through_chroma
from streamsr.media.fields import Deinterlacing, deinterlaced, woven
from streamsr.media.generation import Generation
from streamsr.media.recode import recode

Parameters = Mapping[str, str | float | int]

BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32)
"""Bayer's 4 x 4 order of ordered dithering."""


@dataclass(frozen=True, slots=True)
class HoldStep:
    """Pictures in runs of `run`, each run showing its last one; the last run ends with the clip, whose last picture
    therefore stays. The same has to be done to the ground truth: see `order`."""

    run: int
    name: str = "video hold"

    @property
    def parameters(self) -> Parameters:
        return {"run": self.run}

    def order(self, frames: int) -> tuple[int, ...]:
        """Number of the picture that is shown in place of each of `frames`."""
        last = frames - 1
        return tuple(last - (last - number) // self.run * self.run for number in range(frames))

    def apply(self, x_T3HW: Tensor) -> Tensor:
        return x_T3HW[list(self.order(x_T3HW.shape[0]))]


@dataclass(frozen=True, slots=True)
class BandingStep:
    """2 ** bits levels per colour; with dither a fixed 4 x 4 pattern decides which of two levels is taken."""

    bits: int
    is_dithered: bool
    name: str = "video banding"

    @property
    def parameters(self) -> Parameters:
        return {"bits": self.bits, "dither": "ordered" if self.is_dithered else "none"}

    def apply(self, x_T3HW: Tensor) -> Tensor:
        steps = (1 << self.bits) - 1
        scaled = x_T3HW.clamp(0, 1) * steps
        if not self.is_dithered:
            return scaled.round() / steps
        height, width = x_T3HW.shape[-2:]
        pattern = torch.from_numpy((BAYER + 0.5) / 16).to(x_T3HW)
        pattern = pattern.repeat(-(-height // 4), -(-width // 4))[:height, :width]
        return (scaled + pattern).floor().clamp(max=steps) / steps


@dataclass(frozen=True, slots=True)
class InterlaceStep:
    """Fields of neighbouring pictures woven into one another, then made progressive."""

    how: Deinterlacing
    is_top_first: bool
    name: str = "video interlace"

    @property
    def parameters(self) -> Parameters:
        return {"back": self.how, "first": "top" if self.is_top_first else "bottom"}

    def apply(self, x_T3HW: Tensor) -> Tensor:
        def work(frames: list[Picture]) -> list[Picture]:
            fields = woven(frames, top_first=self.is_top_first)
            return deinterlaced(fields, self.how, top_first=self.is_top_first)

        return _on_bytes(x_T3HW, work)


@dataclass(frozen=True, slots=True)
class ChromaStep:
    """Colour at half the resolution and back, without a codec."""

    chroma: Subsampling
    up: Scaling
    name: str = "video chroma"

    @property
    def parameters(self) -> Parameters:
        return {"chroma": self.chroma, "up": self.up}

    def apply(self, x_T3HW: Tensor) -> Tensor:
        return _on_bytes(x_T3HW, lambda frames: through_chroma(frames, self.chroma, self.up))


@dataclass(frozen=True, slots=True)
class CodecStep:
    """One generation of a video codec over the whole clip."""

    generation: Generation
    name: str = "video codec"

    @property
    def parameters(self) -> Parameters:
        made = self.generation
        return {
            "codec": made.codec,
            "quality": made.quality,
            "gop": made.gop,
            "b-frames": made.b_frames,
            "chroma": made.chroma,
            "effort": made.effort,
        }

    def apply(self, x_T3HW: Tensor) -> Tensor:
        return _on_bytes(x_T3HW, lambda frames: recode(frames, self.generation))


def _on_bytes(x_T3HW: Tensor, work: Callable[[list[Picture]], list[Picture]]) -> Tensor:
    """`work` on the pictures as HWC uint8 on the host; back where they were, as whole 255ths."""
    rounded = (x_T3HW.detach() * 255).round().clamp(0, 255).byte()
    frames = list(rounded.permute(0, 2, 3, 1).contiguous().cpu().numpy())
    done = torch.from_numpy(np.stack(work(frames)))
    return done.to(x_T3HW.device).permute(0, 3, 1, 2).contiguous().to(x_T3HW.dtype) / 255
