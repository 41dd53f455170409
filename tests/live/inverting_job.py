"""A stand-in for the preview's job, whose result no one can take for the original."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from pipelines.preview_job import Pair, PreviewConfig, PreviewStats, pushed_info
from streamsr.errors import StreamSRError
from streamsr.live.address import SourceAddress
from streamsr.live_frames import LiveInfo

RED_YUV, BLUE_YUV = (81, 90, 240), (41, 240, 110)
"""BT.601, limited range."""
SOURCE_SIZE = (160, 90)


class InvertingJob:
    """Stands in for PreviewJob: twice the size, all colours inverted. With a source it shows red and blue itself."""

    made: list[InvertingJob]

    def __init__(
        self,
        source: SourceAddress | None,
        cfg: PreviewConfig,
        on_pair: Callable[[Pair], None],
        notice: Callable[[str], None],
        on_end: Callable[[], None],
    ) -> None:
        self.error: StreamSRError | None = None
        self.models, self.scales = ("lite", "animevideov3"), (1.5, 2.0, 4.0)
        self.model, self.scale = "lite", 2.0
        self.source, self.on_end, self.notice = source, on_end, notice
        self._on_pair, self._number, self._size = on_pair, 0, (0, 0)
        self.ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.made.append(self)

    def start(self) -> None:
        self.notice("this is a stand-in")
        if self.source is not None:
            self._thread = threading.Thread(target=self._play)
            self._thread.start()

    def close(self) -> None:
        self.ended.set()
        if self._thread is not None:
            self._thread.join(5)

    def set_model(self, name: str) -> None:
        self.model = name

    def set_scale(self, factor: float) -> None:
        self.scale = factor

    def push(self, packed: memoryview, info: LiveInfo, time_s: float) -> None:
        planes = info.layout.planes_of(packed, info.width, info.height)
        full = np.frombuffer(packed, np.uint8).reshape(-1, info.width)
        original = cv2.cvtColor(full, cv2.COLOR_YUV2RGB_I420)
        y, u, v = (plane.repeat(2, 0).repeat(2, 1) for plane in planes)
        self._number += 1
        self._size = (info.width, info.height)
        inverted = (235 + 16 - np.clip(y, 16, 235), 255 - u + (u < 255), 255 - v + (v < 255))
        size_out = (2 * info.width, 2 * info.height)
        self._on_pair(Pair(self._number, original, inverted, size_out, time_s, time_s, self.stats()))

    def stats(self) -> PreviewStats:
        double = (2 * self._size[0], 2 * self._size[1])
        return PreviewStats(
            "live", self.model, "cpu", self.scale, self._size, self._size, double, 30, 30, 12, 20, float("nan"), 3
        )

    def _play(self) -> None:
        width, height = SOURCE_SIZE
        info = pushed_info(width, height)
        packed: Any = np.concatenate(
            [two_colors(height, width, 0).ravel()]
            + [two_colors(height // 2, width // 2, index).ravel() for index in (1, 2)]
        )
        while not self.ended.wait(1 / 30):
            self.push(memoryview(packed), info, time.monotonic())


def two_colors(rows: int, columns: int, index: int) -> np.ndarray:
    plane = np.full((rows, columns), BLUE_YUV[index], np.uint8)
    plane[:, : columns // 2] = RED_YUV[index]
    return plane
