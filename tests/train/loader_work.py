"""What the workers of the loaders' tests do to a crop; here because workers import it by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from streamsr.errors import ConfigError
from streamsr.train.crops import Crop


def as_it_is(crop: Crop) -> Crop:
    return crop


def killed_at_5(crop: Crop) -> Crop:
    if crop.number >= 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return crop


def refused_at_3(crop: Crop) -> Crop:
    if crop.number == 3:
        raise ConfigError("three is refused", where="here", remedy="Take four.")
    return crop


def process_id(crop: Crop) -> tuple[int, str]:
    """Interrupts itself, which must not end a worker."""
    os.kill(os.getpid(), signal.SIGINT)
    return os.getpid(), Path(crop.name).stem
