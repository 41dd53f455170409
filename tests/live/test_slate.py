"""The slate: a darkened picture with a text in its middle."""

from __future__ import annotations

import numpy as np
import pytest

from streamsr.frames import PixelLayout
from streamsr.media.slate import write_slate
from tests.media import draw_planes


@pytest.mark.parametrize("layout", [PixelLayout(), PixelLayout("422", 10), PixelLayout("444", is_rgb=True)])
@pytest.mark.parametrize("size", [(320, 180), (64, 48), (180, 320)])
def test_text_stands_in_the_middle_of_a_darker_picture(layout: PixelLayout, size: tuple[int, int]) -> None:
    width, height = size
    step = 1 << (layout.depth - 8)
    planes = draw_planes(5, layout, width, height)
    bare = tuple(plane.copy() for plane in planes)
    write_slate(bare, layout, "")
    assert 16 * step <= bare[0].min() < bare[0].max() < 100 * step
    assert bare[0].max() < planes[0].max() / 2
    written = tuple(plane.copy() for plane in planes)
    write_slate(written, layout, "the camera does not answer")
    changed = written[0] != bare[0]
    assert written[0].max() > 130 * step
    rows, columns = np.nonzero(changed)
    assert abs(rows.mean() - height / 2) < height / 10
    assert abs(columns.mean() - width / 2) < width / 10
    assert width * 0.05 <= columns.min() <= columns.max() <= width * 0.95
    if not layout.is_rgb:
        assert all(np.array_equal(one, other) for one, other in zip(written[1:], bare[1:], strict=True))


def test_any_text_can_be_written() -> None:
    layout = PixelLayout()
    for text in ("Kamera ausgefallen \N{SNOWMAN}", "one\ntwo\ttabs", "x" * 500, "."):
        planes = draw_planes(1, layout, 64, 48)
        write_slate(planes, layout, text)
        assert planes[0].max() <= 235
