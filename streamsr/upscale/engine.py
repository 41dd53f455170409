"""An engine turns batches of frames into upscaled pictures in slots, on one device. It never gives up a picture: out of
memory halves the batch, then the tile; a broken picture is computed again in fp32."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

import numpy as np
import torch

from streamsr.errors import StageFailed
from streamsr.frames import Frame, PixelLayout, Upscaled
from streamsr.models.weights import Network
from streamsr.runtime.slots import SlotRing
from streamsr.upscale.batches import Batch
from streamsr.upscale.chain import Chain, Look, looks_broken, require_sane
from streamsr.upscale.device import DevicePlan, precision_name
from streamsr.upscale.memory import Budget, is_out_of_memory
from streamsr.upscale.target import Target

SMALLEST_TILE = 32


class Lane(Protocol):
    """How work gets to a device and back. `submit` may return before the work is done; `collect` waits for it and
    returns (N, 2) means on the CPU; the results are then in the batch's slots."""

    depth: int

    def submit(self, batch: Batch, tile: int) -> object: ...

    def collect(self, ticket: object) -> torch.Tensor: ...

    def close(self) -> None: ...


class Engine:
    """Use `upscale` on one thread at a time. `notice` receives one line when memory or precision gave way."""

    def __init__(
        self,
        network: Network,
        look: Look,
        target: Target,
        device: torch.device,
        dtype: torch.dtype,
        budget: Budget,
        slots: SlotRing,
        notice: Callable[[str], None],
    ) -> None:
        self.device, self.dtype, self.budget = device, dtype, budget
        self._largest_batch = budget.batch
        self._network, self._look, self._target, self._slots, self._notice = network, look, target, slots, notice
        self._lane = open_lane(Chain(network, look, target, device, dtype), slots)
        self._exact: Lane | None = None

    def upscale(self, batches: Iterator[Batch]) -> Iterator[tuple[Upscaled, ...]]:
        """One tuple of pictures per batch, in order; a few batches are in flight at a time on devices that overlap."""
        flight: deque[tuple[Batch, list[tuple[Batch, object]]]] = deque()
        for batch in batches:
            flight.append((batch, self._submit(batch)))
            if len(flight) > self._lane.depth:
                yield self._collect(*flight.popleft())
        while flight:
            yield self._collect(*flight.popleft())

    def close(self) -> None:
        self._lane.close()
        if self._exact is not None:
            self._exact.close()

    def _submit(self, batch: Batch) -> list[tuple[Batch, object]]:
        """The parts the batch was submitted in: one, or more after memory ran out."""
        if len(batch.frames) > self._largest_batch:
            first, second = _halves(batch)
            return self._submit(first) + self._submit(second)
        try:
            return [(batch, self._lane.submit(batch, self.budget.tile))]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self._shrink(batch, error)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return self._submit(batch)

    def _shrink(self, batch: Batch, error: RuntimeError) -> None:
        if len(batch.frames) > 1:
            self._largest_batch = len(batch.frames) // 2
            self._notice(f"out of memory on {self.device}: going on with batches of {self._largest_batch}")
            return
        frame = batch.frames[0]
        tile = (self.budget.tile or max(frame.width, frame.height)) // 2
        if tile < SMALLEST_TILE:
            raise StageFailed(
                f"out of memory on {self.device}, even in tiles of {SMALLEST_TILE} pixels",
                stage="upscale",
                index=frame.stamp.index,
                remedy="Free memory, or take a smaller model or output size.",
            ) from error
        self.budget = Budget(1, tile)
        self._notice(f"out of memory on {self.device}: going on in tiles of {tile} pixels")

    def _collect(self, batch: Batch, parts: list[tuple[Batch, object]]) -> tuple[Upscaled, ...]:
        for part, ticket in parts:
            broken = looks_broken(self._lane.collect(ticket))
            for frame, slot, is_broken in zip(part.frames, part.slots, broken.tolist(), strict=True):
                if is_broken:
                    self._redo(Batch((frame,), (slot,)))
        return tuple(Upscaled(frame.stamp, slot) for frame, slot in zip(batch.frames, batch.slots, strict=True))

    def _redo(self, batch: Batch) -> None:
        index = batch.frames[0].stamp.index
        if self.dtype != torch.float32 and self._exact is None:
            self._notice(
                f"{precision_name(self.dtype)} gave a black or invalid picture at frame {index}: such pictures are "
                "computed again in fp32"
            )
            chain = Chain(self._network, self._look, self._target, self.device, torch.float32)
            self._exact = open_lane(chain, self._slots)
        lane = self._exact or self._lane
        require_sane(lane.collect(lane.submit(batch, self.budget.tile)), index)


class HostLane:
    """Computes on the CPU (or MPS) at once, and writes straight into the slots."""

    depth = 0

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def submit(self, batch: Batch, tile: int) -> torch.Tensor:
        planes = tuple(plane.to(self._chain.device) for plane in stacked(batch.frames))
        results, means = self._chain(planes, tile)
        for number, slot in enumerate(batch.slots):
            places = slot_planes(slot.memory, self._chain.look.layout_out, self._chain.target)
            for place, result in zip(places, results, strict=True):
                place.copy_(result[number])
        return means.cpu()

    def collect(self, ticket: object) -> torch.Tensor:
        assert isinstance(ticket, torch.Tensor)
        return ticket

    def close(self) -> None:
        """Nothing to give back."""


def open_lane(chain: Chain, slots: SlotRing) -> Lane:
    """The lane for the chain's device."""
    if chain.device.type == "cuda":
        from streamsr.upscale.cuda import CudaLane

        return CudaLane(chain, slots)
    return HostLane(chain)


def open_engines(
    stack: ExitStack,
    plan: DevicePlan,
    network: Network,
    look: Look,
    target: Target,
    budget: Budget,
    slots: SlotRing,
    notice: Callable[[str], None],
) -> list[Engine]:
    """One engine per device of the plan, closed by `stack`."""
    engines = []
    for device in plan.devices:
        engine = Engine(network, look, target, device, plan.dtype, budget, slots, notice)
        stack.callback(engine.close)
        engines.append(engine)
    return engines


def stacked(frames: tuple[Frame, ...]) -> tuple[torch.Tensor, ...]:
    """Three planes (N, rows, columns) on the CPU, copied out of the decoder's memory; uint8, or int16 with the bits of
    the code values (torch has few operations for uint16)."""
    planes = (np.stack([frame.planes[number] for frame in frames]) for number in range(3))
    return tuple(torch.from_numpy(plane if plane.dtype == np.uint8 else plane.view(np.int16)) for plane in planes)


def slot_planes(memory: memoryview, layout: PixelLayout, target: Target) -> tuple[torch.Tensor, ...]:
    """The three planes of a slot as tensors over its memory, uint8 or int16."""
    planes = layout.planes_of(memory, target.width, target.height)
    return tuple(torch.from_numpy(plane if plane.dtype == np.uint8 else plane.view(np.int16)) for plane in planes)


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    middle = (len(batch.frames) + 1) // 2
    return Batch(batch.frames[:middle], batch.slots[:middle]), Batch(batch.frames[middle:], batch.slots[middle:])
