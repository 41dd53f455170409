"""Which devices compute, in which precision, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

import torch

from streamsr.config import Precision
from streamsr.errors import ConfigError

Kind = Literal["cpu", "cuda", "mps"]
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """`why` is one line for the user."""

    devices: tuple[torch.device, ...]
    dtype: torch.dtype
    why: str

    @property
    def kind(self) -> Kind:
        return cast(Kind, self.devices[0].type)


def plan_devices(device: str, precision: Precision) -> DevicePlan:
    """Devices from "auto", "cpu", "mps", "cuda" or "cuda:0,1". Raises ConfigError for what is not there."""
    devices = _devices(device.strip().lower())
    kind = devices[0].type
    dtype, reason = _precision(kind, devices) if precision == "auto" else (_DTYPES[precision], "as asked")
    names = ", ".join(torch.cuda.get_device_name(each) for each in devices) if kind == "cuda" else kind.upper()
    return DevicePlan(devices, dtype, f"{names}, {precision_name(dtype)} ({reason})")


def precision_name(dtype: torch.dtype) -> str:
    return next(name for name, each in _DTYPES.items() if each == dtype)


def has_fast_bf16() -> bool:
    """True for CPUs that multiply bf16 in hardware (AVX512-BF16 or AMX). Without it torch falls back to code that is
    hundreds of times slower, whatever other AVX512 there is."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _devices(text: str) -> tuple[torch.device, ...]:
    if text == "auto":
        text = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if text == "cpu":
        return (torch.device("cpu"),)
    if text == "mps":
        if not torch.backends.mps.is_available():
            raise ConfigError("there is no MPS device", where="--device mps", remedy="Take --device cpu.")
        return (torch.device("mps"),)
    match = re.fullmatch(r"cuda(?::(\d+(?:,\d+)*))?", text)
    if not match:
        raise ConfigError(f"{text!r} is not a device", where="--device", remedy="auto, cpu, mps, cuda or cuda:0,1.")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise ConfigError(
            "there is no CUDA device", where=f"--device {text}", remedy="`doctor` says why; or --device cpu."
        )
    numbers = [int(each) for each in match[1].split(",")] if match[1] else list(range(count))
    if max(numbers) >= count or len(set(numbers)) < len(numbers):
        raise ConfigError(
            f"there {'is 1 GPU' if count == 1 else f'are {count} GPUs'}",
            where=f"--device {text}",
            remedy="Number them from 0, each once.",
        )
    return tuple(torch.device("cuda", number) for number in numbers)


def _precision(kind: str, devices: tuple[torch.device, ...]) -> tuple[torch.dtype, str]:
    if kind == "cuda":
        if min(torch.cuda.get_device_capability(each) for each in devices) >= (7, 0):
            return torch.float16, "tensor cores"
        return torch.float32, "no fast fp16"
    if kind == "cpu" and has_fast_bf16():
        return torch.bfloat16, "the CPU has bf16"
    return torch.float32, "no fast bf16" if kind == "cpu" else "safe everywhere"
