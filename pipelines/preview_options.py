"""What the options of `preview` set."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.options import device
from pipelines.preview_job import PreviewConfig
from streamsr.config import load_as

KEYS = {
    "model": "upscale.model",
    "to": "upscale.to",
    "scale": "upscale.scale",
    "device": "upscale.device",
    "precision": "upscale.precision",
    "size": "ingest.size",
    "rate": "ingest.rate",
    "transport": "ingest.transport",
    "loop": "ingest.loop",
}
"""Option -> key."""


def preview_config(given: Mapping[str, object]) -> PreviewConfig:
    """Values by option, None where not given. Raises ConfigError."""
    options = {KEYS[name]: value for name, value in given.items()}
    name = options["upscale.device"]
    if isinstance(name, str):
        options["upscale.device"] = device(name)
    return load_as(PreviewConfig, None, (), options)
