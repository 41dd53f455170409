"""A trained generator as files that `upscale --model` and upstream's programs read."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

import streamsr
from streamsr.train.checkpoint import write_whole

GIT_TIMEOUT_S = 10.0


def export(folder: Path, name: str, average: nn.Module, current: nn.Module, facts: Mapping[str, str]) -> Path:
    """Writes NAME.safetensors (the average, `facts` in its header) and NAME.pth (upstream's layout: `params_ema` the
    average, `params` the current weights) and returns the former. fp32. Raises SinkError."""
    tensors = _state(average)
    target = folder / f"{name}.safetensors"
    # Not save_file, whose files only their owner may read.
    packed = save(tensors, metadata={"format": "pt", "name": name, **facts})
    write_whole(target, lambda path: path.write_bytes(packed))
    layout = {"params": _state(current), "params_ema": tensors}
    write_whole(folder / f"{name}.pth", lambda path: torch.save(layout, path))
    return target


def commit() -> str:
    """The commit of the source checkout, with "+" where files are changed; "version X" where there is none."""
    root = Path(streamsr.__file__).parents[1]
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return f"version {streamsr.__version__}"
    return done.stdout.strip() if (root / ".git").exists() else f"version {streamsr.__version__}"


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().float().cpu().contiguous() for name, value in module.state_dict().items()}
