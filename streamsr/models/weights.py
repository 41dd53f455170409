"""Checkpoints into networks. A file is read once, never executed, and checked before anything is made of it."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from streamsr.errors import ConfigError, WeightsError
from streamsr.models.catalog import CATALOG, Family
from streamsr.models.keys import parameters_of
from streamsr.models.locations import resolve
from streamsr.models.registry import Architecture, Module, architecture_of

MAX_FILE_BYTES = 2**30  # x4plus has 67 MB; training checkpoints a few times that
BLEND, BLEND_WEAK = "general-x4v3", "general-wdn-x4v3"

# What torch.load has been seen to raise on damaged and hostile bytes.
_UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    safetensors.SafetensorError,
)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A network ready to run: `module` in fp32 on the CPU, in eval mode, without gradients.

    `sha256` is that of the file; for a blend of two files both, joined by "+"."""

    module: Module = field(repr=False)
    architecture: Architecture
    name: str
    path: Path
    sha256: str = field(repr=False)
    denoise: float | None = None

    @property
    def scale(self) -> int:
        return self.architecture.scale

    @property
    def family(self) -> Family:
        return self.architecture.family

    @property
    def receptive_radius(self) -> int:
        """In input pixels; tiles with this overlap are exact."""
        return self.module.receptive_radius

    @property
    def tile_overlap(self) -> int:
        """In input pixels; what tiles should take. Equals `receptive_radius` where that is affordable."""
        return self.module.tile_overlap

    @property
    def align(self) -> int:
        """Tiles start at multiples of this many input pixels."""
        return self.module.align


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A file that has been read: its tensors by our names, its hash, and what network they are for."""

    path: Path
    state: dict[str, Tensor] = field(repr=False)
    sha256: str
    num_bytes: int
    architecture: Architecture


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth, .pt or .safetensors file by the names of our modules, on the CPU, dtype as stored.

    Raises WeightsError, one clear line, for whatever is not a sound checkpoint of a known architecture."""
    return read_checkpoint(path).state


def read_checkpoint(path: Path) -> Checkpoint:
    """`read_state` with hash and architecture. Raises WeightsError."""
    data = _bytes_of(path)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        state = parameters_of(_unpacked(data, path))
        architecture = architecture_of(state)
        for name, value in state.items():
            if not value.float().isfinite().all():
                raise WeightsError(f"{name} holds values that are not finite numbers")
    except WeightsError as error:
        raise WeightsError(error.what, where=str(path), remedy=error.remedy) from error
    return Checkpoint(path, state, sha256, len(data), architecture)


def load_network(reference: str | Path, denoise: float | None = None) -> Network:
    """The network of a catalogue name (see locations.py for where it is looked for) or of a checkpoint's path.

    `denoise` 0..1 goes with general-x4v3 only: its parameters are mixed with those of general-wdn-x4v3 as
    denoise * general + (1 - denoise) * wdn, upstream's deep network interpolation (Wang et al., CVPR 2019). 0 keeps
    noise and grain, 1 (and None) is general-x4v3 itself.

    Raises WeightsError, and ConfigError for `denoise` with another model or out of range."""
    path, entry = resolve(reference)
    name = entry.name if entry else path.stem
    if denoise is not None and (entry is None or entry.name != BLEND):
        raise ConfigError(f"--denoise does not go with {name}", remedy=f"Only --model {BLEND} has a denoise strength.")
    if denoise is not None and not 0 <= denoise <= 1:
        raise ConfigError(f"denoise = {denoise} is wrong: 0 keeps noise, 1 removes most of it")
    strong = read_checkpoint(path)
    state, sha256 = strong.state, strong.sha256
    if denoise is not None and denoise < 1:
        weak = read_checkpoint(resolve(BLEND_WEAK)[0])
        if weak.architecture != strong.architecture:
            raise WeightsError(f"{weak.architecture} cannot be mixed with {strong.architecture}", where=str(weak.path))
        state = {key: denoise * value.float() + (1 - denoise) * weak.state[key] for key, value in state.items()}
        sha256 = f"{sha256}+{weak.sha256}"
    return Network(_module(strong.architecture, state, path), strong.architecture, name, path, sha256, denoise)


def describe(reference: str | Path) -> dict[str, object]:
    """What `models info` shows of a name or path, in this order. Raises WeightsError."""
    checkpoint = read_checkpoint(resolve(reference)[0])
    architecture = checkpoint.architecture
    with torch.device("meta"):
        module = architecture.build()
    published = [entry.name for entry in CATALOG if entry.has_hash(checkpoint.sha256)]
    return {
        "path": str(checkpoint.path),
        "architecture": str(architecture),
        "family": architecture.family,
        "scale": architecture.scale,
        "channels": f"{architecture.in_channels} -> {architecture.out_channels}",
        "features": architecture.features,
        "depth": architecture.depth,
        "growth": architecture.growth,
        "pixel_unshuffle": architecture.unshuffle,
        "parameters": sum(value.numel() for value in checkpoint.state.values()),
        "dtype": "/".join(sorted({str(value.dtype).removeprefix("torch.") for value in checkpoint.state.values()})),
        "bytes": checkpoint.num_bytes,
        "sha256": checkpoint.sha256,
        "published_as": published[0] if published else None,
        "receptive_radius_px": module.receptive_radius,
        "tile_overlap_px": module.tile_overlap,
    }


def _module(architecture: Architecture, state: Mapping[str, Tensor], path: Path) -> Module:
    if (architecture.in_channels, architecture.out_channels) != (3, 3):
        raise WeightsError(
            f"the network maps {architecture.in_channels} channels to {architecture.out_channels}",
            where=str(path),
            remedy="Only networks from RGB to RGB can be used.",
        )
    with torch.device("meta"):
        module = architecture.build()
    module.load_state_dict({key: value.float().contiguous() for key, value in state.items()}, assign=True)
    return module.eval().requires_grad_(False)


def _bytes_of(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise WeightsError("is a folder, not a checkpoint", where=str(path))
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise WeightsError("cannot read the checkpoint", where=str(path), remedy=error.strerror or "") from error
    if not data:
        raise WeightsError("the checkpoint is empty", where=str(path), remedy="Fetch it again.")
    if len(data) > MAX_FILE_BYTES:
        raise WeightsError("too large for a checkpoint of these networks", where=str(path))
    return data


def _unpacked(data: bytes, path: Path) -> Mapping[str, object]:
    try:
        if path.suffix.lower() == ".safetensors":
            return safetensors.torch.load(data)
        if _inflated_bytes(data) > MAX_FILE_BYTES:
            raise WeightsError("refused: a small file that unpacks to more than a gigabyte")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of odd pickles before it refuses them
            checkpoint = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise WeightsError(_diagnosis(data, error), remedy="Fetch it again, from a source you trust.") from error
    if not isinstance(checkpoint, Mapping):
        raise WeightsError(f"not a checkpoint: it holds a {type(checkpoint).__name__}")
    return checkpoint


def _inflated_bytes(data: bytes) -> int:
    """What torch would allocate for the records of a zipped checkpoint; 0 for torch's older format."""
    if not data.startswith(b"PK"):
        return 0
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return sum(record.file_size for record in archive.infolist())


def _diagnosis(data: bytes, error: BaseException) -> str:
    """The likeliest reason in a few words; torch's own messages run over many lines and advise to trust the file."""
    if data.lstrip()[:1] == b"<":
        return "not a checkpoint but a web page, saved under its name"
    if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error).lower():
        return "refused: it is a pickle of more than numbers, which could run code"
    return "damaged, cut short or not a checkpoint"
