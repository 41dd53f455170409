"""Cuts are found where scenes begin, in the file's own ticks."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamsr.config import SourceConfig
from streamsr.errors import ConfigError
from streamsr.media.scenes import find_cuts

CUTS = (20, 45, 80)


def film(path: Path, pix_fmt: str, size: tuple[int, int]) -> Path:
    """Three cuts between drifting textures; ticks of 1/1000 s, 40 a picture, the first at 5000."""
    width, height = size
    blocks = np.random.default_rng(5).integers(30, 220, (4, height // 4, width // 2), np.uint8)
    texture = blocks.repeat(4, axis=1).repeat(4, axis=2)
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(100):
            scene = sum(number >= cut for cut in CUTS)
            luma = texture[scene, :, number : number + width] // (1 + scene % 2)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(luma), format="gray").reformat(format=pix_fmt)
            picture.pts, picture.time_base = 5000 + 40 * number, Fraction(1, 1000)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("pix_fmt", "size"), [("yuv420p", (320, 180)), ("yuv420p10le", (64, 48))])
def test_cuts_are_found(tmp_path: Path, pix_fmt: str, size: tuple[int, int]) -> None:
    pytest.importorskip("scenedetect")
    clip = film(tmp_path / "a.mkv", pix_fmt, size)
    assert list(find_cuts(clip, SourceConfig())) == [5000 + 40 * cut for cut in CUTS]


def test_cuts_of_a_range(tmp_path: Path) -> None:
    pytest.importorskip("scenedetect")
    clip = film(tmp_path / "a.mkv", "yuv420p", (64, 48))
    assert list(find_cuts(clip, SourceConfig(start_s=6.0, duration_s=2.0))) == [5000 + 40 * 45]


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(ConfigError, match=r"PySceneDetect is not installed.*pip install 'streamsr\[scenes\]'"):
        list(find_cuts(tmp_path / "a.mkv", SourceConfig()))
