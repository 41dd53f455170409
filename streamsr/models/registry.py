"""What network a checkpoint is for, read from the names and shapes of its parameters alone."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from streamsr.errors import WeightsError
from streamsr.models.catalog import Family
from streamsr.models.keys import parameters_of
from streamsr.models.rrdb import RRDB
from streamsr.models.srvgg import SRVGG

Module: TypeAlias = SRVGG | RRDB

MAX_SCALE, MAX_FEATURES, MAX_DEPTH = 16, 512, 100
MAX_PARAMETERS = 100_000_000


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network without its weights. `depth`: body convolutions of an SRVGG, blocks of an RRDB. `growth`: channels a
    dense block adds per convolution, 0 for SRVGG. `unshuffle`: side of the squares of pixels that an RRDB takes as
    channels, 1 for none. Raises ValueError for what cannot be built."""

    family: Family
    scale: int
    in_channels: int
    out_channels: int
    features: int
    depth: int
    growth: int = 0
    unshuffle: int = 1

    def __post_init__(self) -> None:
        sizes = (self.scale, self.in_channels, self.out_channels, self.features, self.unshuffle)
        growth_fits = self.growth == 0 if self.family == "srvgg" else 0 < self.growth <= MAX_FEATURES
        if (
            min(sizes) < 1
            or max(self.scale, self.unshuffle) > MAX_SCALE
            or max(self.in_channels, self.out_channels, self.features) > MAX_FEATURES
            or not 0 <= self.depth <= MAX_DEPTH
            or not growth_fits
        ):
            raise ValueError(f"not a network that can be built: {self!r}")

    def build(self) -> Module:
        """The module with fresh random weights, on torch's default device."""
        if self.family == "srvgg":
            return SRVGG(self.in_channels, self.out_channels, self.features, self.depth, self.scale)
        return RRDB(
            self.in_channels, self.out_channels, self.scale, self.features, self.depth, self.growth, self.unshuffle
        )

    def parameter_shapes(self) -> dict[str, torch.Size]:
        """Name -> shape of everything in the state dict, without memory for it."""
        with torch.device("meta"):
            return {name: value.shape for name, value in self.build().state_dict().items()}

    def __str__(self) -> str:
        depth = f"{self.depth} convolutions" if self.family == "srvgg" else f"{self.depth} blocks"
        return f"{self.family.upper()} x{self.scale}, {self.features} features, {depth}"


def identify(checkpoint: Mapping[str, object]) -> Architecture:
    """The architecture that a checkpoint or state dict belongs to; every name and shape in it fits.

    Reads no values and allocates nothing, so that a hostile file costs nothing. Raises WeightsError, with the first
    keys seen where the architecture is unknown."""
    return architecture_of(parameters_of(checkpoint))


def architecture_of(state: Mapping[str, Tensor]) -> Architecture:
    """`identify` for what `parameters_of` returned."""
    for name, value in state.items():
        if value.layout != torch.strided or not value.is_floating_point():
            raise WeightsError(f"{name} is not a plain tensor of floating-point numbers")
    try:
        if "conv_first.weight" in state:
            architecture = _rrdb(state)
        elif "body.0.weight" in state:
            architecture = _srvgg(state)
        else:
            raise _unknown(state, "unknown architecture")
    except (KeyError, IndexError, ValueError) as error:
        raise _unknown(state, f"neither SRVGG nor RRDB ({error})") from error
    _compare(state, architecture.parameter_shapes(), str(architecture))
    return architecture


def _srvgg(state: Mapping[str, Tensor]) -> Architecture:
    layers = _count(state, r"body\.(\d+)\.weight")
    features, in_channels = state["body.0.weight"].shape[:2]
    last = state[f"body.{layers - 1}.weight"].shape[0]
    # The residual wants as many channels out as in, so that the rest of the last convolution is the shuffle.
    scale = math.isqrt(last // max(in_channels, 1))
    return Architecture("srvgg", scale, in_channels, in_channels, features, (layers - 3) // 2)


def _rrdb(state: Mapping[str, Tensor]) -> Architecture:
    features, first_channels = state["conv_first.weight"].shape[:2]
    out_channels = state["conv_last.weight"].shape[0]
    unshuffle = math.isqrt(first_channels // max(out_channels, 1)) or 1
    enlarged = 2 ** min(_count(state, r"conv_up(\d+)\.weight", first=1), 10)
    if enlarged % unshuffle:
        raise ValueError(f"{first_channels} input channels do not go with an enlargement of {enlarged}")
    return Architecture(
        family="rrdb",
        scale=enlarged // unshuffle,
        in_channels=first_channels // unshuffle**2,
        out_channels=out_channels,
        features=features,
        depth=_count(state, r"body\.(\d+)\.rdb1\.conv1\.weight"),
        growth=state["body.0.rdb1.conv1.weight"].shape[0],
        unshuffle=unshuffle,
    )


def _count(state: Mapping[str, Tensor], pattern: str, first: int = 0) -> int:
    numbers = [int(match[1]) for name in state if (match := re.fullmatch(pattern, name))]
    return max(numbers, default=first - 1) + 1 - first


def _compare(state: Mapping[str, Tensor], expected: Mapping[str, torch.Size], title: str) -> None:
    if sum(math.prod(shape) for shape in expected.values()) > MAX_PARAMETERS:
        raise WeightsError(f"{title} has more than {MAX_PARAMETERS} parameters")
    if missing := sorted(expected.keys() - state.keys()):
        raise WeightsError(f"looks like {title} but lacks {len(missing)} parameters, first {missing[0]}")
    if surplus := sorted(state.keys() - expected.keys()):
        raise WeightsError(f"looks like {title} but has {len(surplus)} unknown parameters, first {surplus[0][:60]}")
    for name, shape in expected.items():
        if state[name].shape != shape:
            raise WeightsError(f"looks like {title} but {name} is {list(state[name].shape)}, not {list(shape)}")


def _unknown(state: Mapping[str, Tensor], what: str) -> WeightsError:
    first = ", ".join(f"{name[:60]} {list(value.shape)}" for name, value in list(state.items())[:3])
    return WeightsError(f"{what}; the file begins with {first}", remedy="SRVGG and RRDB checkpoints can be used.")
