"""The numbers drawn by tests/media.py survive what the tests do to pictures."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamsr.config import SourceConfig
from streamsr.frames import PixelLayout
from streamsr.media.source import open_source
from tests.media import draw_frame, draw_planes, make_clip, read_number


@pytest.mark.parametrize("size", [(16, 16), (33, 17), (64, 48), (320, 180)])
def test_every_number_reads_back_after_enlarging(size: tuple[int, int]) -> None:
    for number in (0, 1, 2, 77, 1024, 2047):
        luma = draw_planes(number, PixelLayout(), *size)[0]
        assert read_number(luma) == number
        assert read_number(cv2.resize(luma, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)) == number
        assert read_number(cv2.GaussianBlur(luma, (3, 3), 0.6) // 2 + 60) == number


def test_depth_and_kind_do_not_matter() -> None:
    for layout in (PixelLayout("422", 10), PixelLayout("444", 12), PixelLayout("444", 8, is_rgb=True)):
        frame = draw_frame(5, layout, 50, 30)
        assert read_number(frame.planes[0]) == 5
        assert frame.planes[0].dtype == layout.dtype


def test_a_picture_without_a_number_is_an_error() -> None:
    with pytest.raises(AssertionError):
        read_number(np.full((48, 64), 100, np.uint8))


def test_hard_compression(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=30, size=(160, 96), options={"crf": "40", "preset": "ultrafast"})
    with open_source(clip, SourceConfig()) as source:
        assert [read_number(frame.planes[0]) for frame in source.frames()] == list(range(30))


def test_opened_here_and_read_on_another_thread(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=30, b_frames=2)
    numbers: list[int] = []
    with open_source(clip, SourceConfig()) as source:
        pictures = source.frames()
        reader = threading.Thread(
            target=lambda: numbers.extend(read_number(frame.planes[0]) for frame in pictures), name="decode"
        )
        reader.start()
        reader.join(20)
        assert not reader.is_alive()
    assert numbers == list(range(30))


def test_left_in_the_middle(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=30)
    with open_source(clip, SourceConfig()) as source:
        pictures = source.frames()
        kept = [next(pictures) for _ in range(5)]
        pictures.close()  # type: ignore[attr-defined]
        assert source.frames_decoded == 5
    assert [read_number(frame.planes[0]) for frame in kept] == list(range(5))
