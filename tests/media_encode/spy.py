"""Imported in a child process in place of the encoder: says what that imports."""

from __future__ import annotations

import sys
from typing import Any


def tell_modules(connection: Any) -> None:
    """Sends the names of all modules that the encoder process has imported."""
    import streamsr.media.encode_worker  # noqa: F401 - what it imports is asked for

    connection.send(sorted(sys.modules))
