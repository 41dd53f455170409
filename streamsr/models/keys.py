"""Parameter names in checkpoints: the wrappings and the older spellings, brought to the names of our modules."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from streamsr.errors import WeightsError

WRAPPINGS = ("params_ema", "params", "state_dict", "model_state_dict")  # the first one present is taken
PREFIXES = ("module.", "_orig_mod.")  # left by DataParallel and by torch.compile
MAX_KEYS = 20_000

# The two spellings of ESRGAN's own repository, of 2018 and of 2020.
_OLD_BLOCK = re.compile(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.(weight|bias)")
_OLD_TRUNK = re.compile(r"model\.1\.sub\.\d+\.(weight|bias)")
_OLD_TAIL = re.compile(r"model\.(\d+)\.(weight|bias)")
_MIDDLE = (
    (re.compile(r"^RRDB_trunk\.(\d+)\.RDB(\d)\."), r"body.\1.rdb\2."),
    (re.compile(r"^trunk_conv\."), "conv_body."),
    (re.compile(r"^upconv(\d)\."), r"conv_up\1."),
    (re.compile(r"^HRconv\."), "conv_hr."),
)


def parameters_of(checkpoint: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors of a network by the names of our modules. What is right already comes back as it is.

    Raises WeightsError if there is no flat mapping of names to tensors in it."""
    inner: object = checkpoint
    for wrapping in WRAPPINGS:
        if isinstance(inner, Mapping) and isinstance(inner.get(wrapping), Mapping):
            inner = inner[wrapping]
            break
    assert isinstance(inner, Mapping)
    if not inner or len(inner) > MAX_KEYS:
        raise WeightsError(f"not a network: {len(inner)} entries", remedy="A checkpoint maps names to tensors.")
    state: dict[str, Tensor] = {}
    for key, value in inner.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"not a network: entry {str(key)[:60]!r} is a {type(value).__name__}",
                remedy="A checkpoint maps names to tensors, itself or under params_ema or params.",
            )
        state[_without_prefix(key)] = value
    return _renamed(state)


def _without_prefix(key: str) -> str:
    while key.startswith(PREFIXES):
        key = key.partition(".")[2]
    return key


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if "model.0.weight" in state:
        return _from_2018(state)
    if "trunk_conv.weight" in state:
        return {_from_2020(key): value for key, value in state.items()}
    return state


def _from_2020(key: str) -> str:
    for pattern, replacement in _MIDDLE:
        key = pattern.sub(replacement, key)
    return key


def _from_2018(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """model.0, model.1.sub.*, then the convolutions of the tail in order: the doublings, conv_hr, conv_last."""
    tail = sorted({int(match[1]) for key in state if (match := _OLD_TAIL.fullmatch(key))} - {0})
    names = ["conv_first", *(f"conv_up{number}" for number in range(1, len(tail) - 1)), "conv_hr", "conv_last"]
    places = dict(zip([0, *tail], names, strict=False))
    renamed = {}
    for key, value in state.items():
        if match := _OLD_BLOCK.fullmatch(key):
            key = f"body.{match[1]}.rdb{match[2]}.conv{match[3]}.{match[4]}"
        elif match := _OLD_TRUNK.fullmatch(key):
            key = f"conv_body.{match[1]}"
        elif match := _OLD_TAIL.fullmatch(key):
            key = f"{places[int(match[1])]}.{match[2]}"
        renamed[key] = value
    return renamed
