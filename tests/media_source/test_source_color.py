"""Colour tags: the file's word, else the convention."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from streamsr.config import SourceConfig
from streamsr.frames import ColorTags
from streamsr.media import color
from streamsr.media.source import open_source
from tests.media import make_clip


def tags_of(path: Path) -> ColorTags:
    with open_source(path, SourceConfig()) as source:
        return source.info.color


def test_written_tags_are_read(tmp_path: Path) -> None:
    tags = {"matrix": 9, "primaries": 9, "transfer": 18, "full_range": True}
    clip = make_clip(tmp_path / "a.mp4", frames=2, pix_fmt="yuv420p10le", **tags)
    found = tags_of(clip)
    assert (found.matrix, found.primaries, found.transfer, found.full_range) == (9, 9, 18, True)
    assert found.is_hdr


@pytest.mark.parametrize(("location", "expected"), [(0, 1), (1, 2), (2, 3), (3, 4)])
def test_chroma_location_is_the_files(tmp_path: Path, location: int, expected: int) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=1, options={"x264-params": f"chromaloc={location}"})
    assert tags_of(clip).chroma_location == expected


@pytest.mark.parametrize(
    ("size", "rotation", "matrix"),
    [((64, 48), 0, 6), ((1280, 64), 0, 1), ((64, 592), 0, 1), ((592, 64), 90, 1), ((64, 1280), 90, 1)],
)
def test_unspecified_matrix_follows_the_upright_size(
    tmp_path: Path, size: tuple[int, int], rotation: int, matrix: int
) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=1, size=size, rotation=rotation)
    assert tags_of(clip).matrix == matrix


def test_rgb_and_jpeg(tmp_path: Path) -> None:
    rgb = tags_of(make_clip(tmp_path / "a.mkv", frames=1, codec="libx264rgb", pix_fmt="rgb24"))
    assert (rgb.matrix, rgb.full_range) == (0, True)
    jpeg = tags_of(make_clip(tmp_path / "a.mov", frames=1, codec="mjpeg", pix_fmt="yuvj420p"))
    assert (jpeg.matrix, jpeg.full_range, jpeg.chroma_location) == (5, True, 2)


def test_an_unsupported_matrix_is_named(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=1, matrix=8)
    with open_source(clip, SourceConfig()) as source:
        assert source.notices == ["colour matrix YCgCo is not supported: colours are approximate"]
        assert source.info.color.matrix in color.MATRICES


def test_hdr10_metadata(tmp_path: Path) -> None:
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    params = f"log-level=error:pools=1:hdr10=1:repeat-headers=1:master-display={display}:max-cll=1000,400"
    clip = make_clip(
        tmp_path / "a.mp4",
        frames=2,
        codec="libx265",
        pix_fmt="yuv420p10le",
        matrix=9,
        primaries=9,
        transfer=16,
        options={"x265-params": params},
    )
    with open_source(clip, SourceConfig()) as source:
        hdr = source.info.hdr
        assert source.info.color.is_hdr
    assert hdr is not None
    assert hdr.mastering is not None
    assert hdr.mastering[:2] == (Fraction(34000, 50000), Fraction(16000, 50000))
    assert hdr.mastering[6:] == (Fraction(3127, 10000), Fraction(329, 1000), Fraction(5, 1000), Fraction(1000))
    assert (hdr.max_cll, hdr.max_fall) == (1000, 400)


def test_no_hdr_metadata_in_a_plain_clip(tmp_path: Path) -> None:
    with open_source(make_clip(tmp_path / "a.mp4", frames=1), SourceConfig()) as source:
        assert source.info.hdr is None
