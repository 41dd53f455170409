"""Orientation, sample aspect and sizes, judged by pixels."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from streamsr.config import SourceConfig
from streamsr.errors import SourceError
from streamsr.frames import Orientation
from streamsr.media import probe
from streamsr.media.source import open_source
from tests.media import make_clip, read_number

TURNS = [(degrees, hflip) for degrees in (0, 90, 180, -90) for hflip in (False, True)]


def upright(plane: np.ndarray, orientation: Orientation) -> np.ndarray:
    """First mirrored left-right, then turned clockwise."""
    plane = plane[:, ::-1] if orientation.mirrored else plane
    return np.rot90(plane, -orientation.clockwise // 90)


@pytest.mark.parametrize(("degrees", "hflip"), TURNS)
def test_orientation_shows_what_ffmpeg_shows(tmp_path: Path, degrees: int, hflip: bool) -> None:
    clip = make_clip(tmp_path / "turned.mp4", frames=2, size=(64, 48), rotation=degrees, hflip=hflip)
    with open_source(clip, SourceConfig()) as source:
        luma = [frame.planes[0] for frame in source.frames()][1]
        turned = upright(luma, source.info.orientation)
        assert turned.shape == source.info.upright_size[::-1]
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg as a judge")
    command = ["ffmpeg", "-v", "error", "-i", str(clip), "-pix_fmt", "gray", "-f", "rawvideo", "-vsync", "0", "-"]
    shown = np.frombuffer(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout, np.uint8)
    judged = shown.reshape(2, *turned.shape)[1].astype(int)
    # ffmpeg's gray is full range, ours as stored
    assert np.abs(judged - (turned.astype(int) - 16) * 255 / 219).max() <= 2


def test_upright_pictures_can_be_read_and_others_not(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "upright.mp4", frames=3)
    with open_source(clip, SourceConfig()) as source:
        pictures = [frame.planes[0] for frame in source.frames()]
        assert source.info.orientation == Orientation()
    assert [read_number(picture) for picture in pictures] == [0, 1, 2]
    for wrong in (pictures[1][:, ::-1], pictures[1][::-1], pictures[1][::-1, ::-1]):
        with pytest.raises(AssertionError):
            read_number(wrong)


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(16, 15), Fraction(1, 2)])
def test_sample_aspect_of_the_container(tmp_path: Path, aspect: Fraction) -> None:
    clip = make_clip(tmp_path / "aspect.mp4", frames=2, sample_aspect=aspect, rotation=90)
    with open_source(clip, SourceConfig()) as source:
        assert source.info.sample_aspect == aspect
        assert source.info.upright_sample_aspect == 1 / aspect


class _Stream:
    def __init__(self, aspect: Fraction | None) -> None:
        self.sample_aspect_ratio = aspect


def test_absurd_sample_aspect_is_not_believed() -> None:
    assert probe.sample_aspect_of(_Stream(None)) == (Fraction(1), "")
    assert probe.sample_aspect_of(_Stream(Fraction(0))) == (Fraction(1), "")
    ratio, notice = probe.sample_aspect_of(_Stream(Fraction(1000, 3)))
    assert ratio == 1
    assert "1000:3" in notice


@pytest.mark.parametrize("size", [(33, 17), (64, 47), (63, 48), (16, 16)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    clip = make_clip(tmp_path / "odd.mkv", frames=3, size=size, codec="ffv1")
    with open_source(clip, SourceConfig()) as source:
        frames = list(source.frames())
        assert (source.info.width, source.info.height) == size
    assert [read_number(frame.planes[0]) for frame in frames] == [0, 1, 2]
    assert frames[0].planes[1].shape == (-(-size[1] // 2), -(-size[0] // 2))


def test_size_change_in_mid_stream_passes_through(tmp_path: Path) -> None:
    parts = [make_clip(tmp_path / f"{n}.ts", frames=4, size=size) for n, size in enumerate([(64, 48), (96, 64)])]
    joined = tmp_path / "joined.h264.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_source(joined, SourceConfig()) as source:
        frames = list(source.frames())
        assert (source.info.width, source.info.height) == (64, 48)
    assert [(f.width, f.height) for f in frames] == [(64, 48)] * 4 + [(96, 64)] * 4
    assert [read_number(frame.planes[0]) for frame in frames] == [0, 1, 2, 3] * 2
    stamps = [frame.stamp.pts for frame in frames]
    assert stamps == sorted(set(stamps))


def test_huge_pictures_are_refused() -> None:
    with pytest.raises(SourceError, match="20000x16"):
        probe.check_size(20000, 16, "somewhere")


def test_a_format_change_in_mid_stream_goes_to_the_first_layout(tmp_path: Path) -> None:
    formats = ["yuv420p", "yuv444p", "yuv420p10le"]
    parts = [make_clip(tmp_path / f"{name}.ts", frames=3, pix_fmt=name) for name in formats]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_source(joined, SourceConfig()) as source:
        frames = list(source.frames())
    assert {frame.layout.pix_fmt for frame in frames} == {"yuv420p"}
    assert [read_number(frame.planes[0]) for frame in frames] == [0, 1, 2] * 3
    levels = [np.percentile(frame.planes[0], (10, 90)) for frame in frames]
    assert np.abs(np.diff(levels, axis=0)).max() <= 4  # no range was changed on the way
