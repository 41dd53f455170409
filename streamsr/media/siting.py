"""Where the chroma samples of a track sit, by the file's own word.

PyAV does not expose AVChromaLocation, but FFmpeg's one-line description of a stream ends its list of colour properties
with it when the log level is verbose."""

from __future__ import annotations

import re
import threading
from typing import Any

import av.logging

LOCATIONS = {"left": 1, "center": 2, "topleft": 3, "top": 4, "bottomleft": 5, "bottom": 6}
"""FFmpeg's names of AVChromaLocation."""

_levels = threading.Lock()


def stated_chroma_location(container: Any, stream_index: int) -> int:
    """FFmpeg's AVChromaLocation of a track of an open av container, 0 where the file does not say."""
    with _levels:
        before = av.logging.get_level()
        av.logging.set_libav_level(av.logging.VERBOSE)
        av.logging.set_level(av.logging.VERBOSE)
        try:
            description: str = container.dumps_format()
        finally:
            av.logging.set_level(before)
            av.logging.set_libav_level(av.logging.INFO)
    line = re.search(rf"^ *Stream #0:{stream_index}[^0-9].*", description, re.MULTILINE)
    words = re.findall(r"[(,] ?(\w+)\)", line[0]) if line else []
    return next((LOCATIONS[word] for word in words if word in LOCATIONS), 0)
