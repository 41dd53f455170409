"""The loop that anybody would write, to be compared with: torch as it comes, fp32, in a process of its own.

In our process it would profit from our settings of the allocator and of OpenMP."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from streamsr.runtime.child import Child
from streamsr.runtime.gate import Gate

PATIENCE_S = 300.0
"""The largest network takes minutes for a picture on a CPU, and torch's import seconds."""


@contextmanager
def plain_loop(model: str, denoise: float | None, device: str, lr_3HW: np.ndarray) -> Iterator[Callable[[], float]]:
    """A function that runs the network over the picture (float32, 0..1) once more, and returns the seconds it took."""
    child = Child("plain", serve, (model, denoise, device, lr_3HW), Gate())

    def once() -> float:
        child.send("once", PATIENCE_S)
        seconds: float = child.recv(PATIENCE_S)
        return seconds

    try:
        yield once
    finally:
        child.stop(0.0)


def serve(connection: Connection[Any, Any], model: str, denoise: float | None, device: str, lr_3HW: np.ndarray) -> None:
    """The process: the seconds of one pass for every message, until the pipe closes."""
    os.environ.pop("OMP_WAIT_POLICY", None)  # ours; read when torch is loaded
    import torch

    from streamsr.models.weights import load_network

    module = load_network(model, denoise).module.to(device)
    lr_1CHW = torch.from_numpy(lr_3HW)[None].to(device)
    with torch.inference_mode():
        while True:
            try:
                connection.recv()
            except (EOFError, OSError):
                return
            started = time.perf_counter()
            module(lr_1CHW)
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            connection.send(time.perf_counter() - started)
