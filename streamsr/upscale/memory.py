"""How many pictures at once, and how large a piece of one, from the memory that is free."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from streamsr.models.weights import Network
from streamsr.runtime.memory import available_memory

HOST_CEILING = 1 << 30
"""More than this for one network call brings nothing on a CPU; it keeps 540p -> 4K under 2.5 GB in all processes."""
DEVICE_SHARE = 0.6
CALL_PIXELS = {"cpu": 1 << 15, "mps": 1 << 19, "cuda": 1 << 21}
"""Input pixels per network call that are enough to keep the device busy."""
HOST_TILE = 192
"""RRDB on a CPU takes minutes per picture; tiles of this side report progress every few seconds."""


@dataclass(frozen=True, slots=True)
class Budget:
    """`batch` pictures per call; `tile` input pixels per side, 0 for whole pictures."""

    batch: int
    tile: int


def bytes_per_pixel(network: Network, itemsize: int) -> int:
    """Peak bytes of one network call and the way out, per input pixel: the activations that live at the same time."""
    module = network.module
    squares = 3 * network.scale**2
    if network.family == "srvgg":
        # A layer's input, output and the activation between; or the last features, the sub-pixels and their codes.
        return max(3 * module.features * itemsize, module.features * itemsize + 3 * squares * 4) + squares * 4
    enlarged = (network.scale * module.features) if network.scale == 4 else 4 * module.features
    dense = 2 * (module.features + 4 * 32) * itemsize
    return dense + 3 * enlarged * 4 * itemsize + 2 * squares * 4


def plan_budget(
    network: Network, device: torch.device, itemsize: int, width: int, height: int, batch: int, tile: int
) -> Budget:
    """`batch` and `tile` 0 are chosen, other values are kept. width x height is the input's size."""
    free = free_memory(device)
    need = bytes_per_pixel(network, itemsize)
    pixels = width * height
    if not tile:
        room = free * DEVICE_SHARE if device.type == "cuda" else min(free / 2, HOST_CEILING)
        if pixels * need > room:
            margin = network.tile_overlap
            tile = max(64, (math.isqrt(int(room / need)) - 2 * margin) // 16 * 16)
        if device.type == "cpu" and network.family == "rrdb":
            tile = min(tile or HOST_TILE, HOST_TILE)
    if not batch:
        wanted = max(1, CALL_PIXELS[device.type] // pixels)
        room_for = max(1, int(free * DEVICE_SHARE / (pixels * need)))
        batch = 1 if tile else min(16, wanted, room_for)
    return Budget(batch, tile)


def free_memory(device: torch.device) -> int:
    """Bytes that could be allocated on the device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return available_memory()


def is_out_of_memory(error: RuntimeError) -> bool:
    """True for CUDA's and MPS's own error and for the CPU allocator's, which has only its text."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)
