"""Live pictures through a network into a place of a fixed size: an engine for each kind of picture, the last few kept.

A picture of another shape than the place gets black bars. What the sources of live streams do, an engine for files need
not bear: any size may come next, and the model may change from one picture to the next."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from streamsr.config import UpscaleConfig
from streamsr.frames import ColorTags, Frame, PixelLayout, Stamp, VideoInfo
from streamsr.live_frames import OUT_TIME_BASE, LiveInfo, LivePicture
from streamsr.models.registry import Architecture
from streamsr.models.srvgg import SRVGG
from streamsr.models.weights import Network
from streamsr.runtime.slots import SlotRing
from streamsr.upscale.batches import Batch
from streamsr.upscale.chain import Look, network_scales
from streamsr.upscale.engine import Engine
from streamsr.upscale.memory import Budget, plan_budget
from streamsr.upscale.pixels import code_levels
from streamsr.upscale.target import Target, plan_target

RESIZE = "resize"
"""The rung below all models: plain resampling."""
MOST_KEPT = 8
MOST_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where upscaled pictures go: planes of one size, packed as `layout` says, and the settings they are made with."""

    width: int
    height: int
    layout: PixelLayout
    color: ColorTags
    batch: int = 0
    tile: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """What pictures must have in common to be upscaled in one batch. `rung`: name of a model, or RESIZE."""

    rung: str
    width: int
    height: int
    sample_aspect: Fraction
    look: Look
    place: Place


def kind_of(rung: str, info: LiveInfo, place: Place) -> Kind:
    look = Look(info.layout, info.color, place.layout, place.color, info.orientation)
    return Kind(rung, info.width, info.height, info.sample_aspect, look, place)


def fit(kind: Kind, scales: Sequence[int]) -> Target:
    """The largest size with the picture's shape that fits into the place, and the factor of the network for it."""
    place = kind.place
    info = VideoInfo(
        path="a live source",
        container="live",
        codec="raw",
        width=kind.width,
        height=kind.height,
        layout=kind.look.layout_in,
        color=kind.look.color_in,
        time_base=OUT_TIME_BASE,
        rate=None,
        duration_s=None,
        frames_from_header=None,
        sample_aspect=kind.sample_aspect,
        orientation=kind.look.orientation,
    )
    target = plan_target(UpscaleConfig(to=f"{place.width}x{place.height}"), info, scales)
    if target.width >= place.width - 2 and target.height >= place.height - 2:
        # The place has the shape of such a picture, up to the rounding to even sides.
        return replace(target, width=place.width, height=place.height)
    return target


class Unchanged(SRVGG):
    """The network of the lowest rung: it gives back what it gets, and the chain around it resizes."""

    def __init__(self) -> None:
        super().__init__(3, 3, 1, 0, 1)

    def subpixels(self, lr_NCHW: Tensor) -> Tensor:
        return lr_NCHW


def resize_network() -> Network:
    """A network that does nothing, for RESIZE."""
    module = Unchanged().eval().requires_grad_(False)
    return Network(module, Architecture("srvgg", 1, 3, 3, 1, 0), RESIZE, Path(RESIZE), "")


class LiveChain:
    """An engine for one kind of picture. One thread at a time; `close` it."""

    def __init__(
        self, kind: Kind, network: Network, device: torch.device, dtype: torch.dtype, notice: Callable[[str], None]
    ) -> None:
        self.kind = kind
        target = self._target = fit(kind, network_scales(network))
        if kind.rung == RESIZE:
            dtype, budget = torch.float32, Budget(MOST_AT_ONCE, 0)  # code values of 8 bit need more than bf16
        else:
            budget = plan_budget(
                network, device, dtype.itemsize, kind.width, kind.height, kind.place.batch, kind.place.tile
            )
        self.batch = min(budget.batch, MOST_AT_ONCE)
        """How many pictures are worth taking at once."""
        # On a CUDA device a CUDA graph is made for each number of pictures: few numbers, few graphs.
        self._sizes = (8, 4, 2, 1) if device.type == "cuda" else tuple(range(self.batch, 0, -1))
        self._scratch = SlotRing(self.batch, kind.place.layout.num_bytes(target.width, target.height))
        try:
            self._engine = Engine(
                network, kind.look, target, device, dtype, Budget(self.batch, budget.tile), self._scratch, notice
            )
        except BaseException:
            self._scratch.close()
            raise

    def run(self, pictures: Sequence[LivePicture], places: Sequence[memoryview]) -> None:
        """Upscales the pictures, all of this kind, into the places. Reads their slots, releases none. Raises whatever
        the device and the engine raise; the places may then hold anything."""
        at = 0
        while at < len(pictures):
            size = next(size for size in self._sizes if size <= min(len(pictures) - at, self.batch))
            self._run(pictures[at : at + size], places[at : at + size])
            at += size

    def close(self) -> None:
        """Gives the device's memory back, as far as a device that has failed lets it."""
        with contextlib.suppress(RuntimeError):
            self._engine.close()
        self._scratch.close()

    def _run(self, pictures: Sequence[LivePicture], places: Sequence[memoryview]) -> None:
        frames = tuple(_frame(index, picture) for index, picture in enumerate(pictures))
        batch = Batch(frames, tuple(self._scratch.slot(index) for index in range(len(frames))))
        for _ in self._engine.upscale(iter((batch,))):
            pass
        for slot, place in zip(batch.slots, places, strict=True):
            self._lay(slot.memory, place)

    def _lay(self, result: memoryview, memory: memoryview) -> None:
        """Copies a result into the middle of its place, with bars around it."""
        place, target = self.kind.place, self._target
        planes = place.layout.planes_of(result, target.width, target.height)
        left, top = (place.width - target.width) // 4 * 2, (place.height - target.height) // 4 * 2
        for outer, inner, level in zip(
            place.layout.planes_of(memory, place.width, place.height), planes, _black(place), strict=True
        ):
            row, column = top * outer.shape[0] // place.height, left * outer.shape[1] // place.width
            rows, columns = inner.shape
            outer[:row] = outer[row + rows :] = level
            outer[row : row + rows, :column] = outer[row : row + rows, column + columns :] = level
            outer[row : row + rows, column : column + columns] = inner


class LiveChains:
    """The chains of one device by kind of picture; the longest unused is given up for a new one. One thread."""

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        load: Callable[[str], Network],
        notice: Callable[[str], None],
    ) -> None:
        self._device, self._dtype, self._load, self._notice = device, dtype, load, notice
        self._chains: OrderedDict[Kind, LiveChain] = OrderedDict()

    def get(self, kind: Kind) -> LiveChain:
        """Raises StreamSRError for models and colours that cannot be used, RuntimeError of the device."""
        chain = self._chains.pop(kind, None)
        if chain is None:
            while len(self._chains) >= MOST_KEPT:
                self._chains.popitem(last=False)[1].close()
            network = resize_network() if kind.rung == RESIZE else self._load(kind.rung)
            chain = LiveChain(kind, network, self._device, self._dtype, self._notice)
        self._chains[kind] = chain
        return chain

    def drop(self, kind: Kind) -> None:
        """The next picture of this kind gets a new chain."""
        chain = self._chains.pop(kind, None)
        if chain is not None:
            chain.close()

    def close(self) -> None:
        for kind in list(self._chains):
            self.drop(kind)


def _frame(index: int, picture: LivePicture) -> Frame:
    info = picture.info
    planes = info.layout.planes_of(picture.slot.memory, info.width, info.height)
    return Frame(Stamp(index, index, 0, OUT_TIME_BASE), planes, info.layout, info.width, info.height)


def _black(place: Place) -> tuple[int, ...]:
    luma, _, chroma, _ = code_levels(place.layout, place.color)
    levels = (luma, luma, luma) if place.layout.is_rgb else (luma, chroma, chroma)
    return tuple(round(level) for level in levels)
