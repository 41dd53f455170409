"""HDR10: transfer, mastering display and light levels, read back from the pictures by an independent reader."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from streamsr.frames import ColorTags, HdrMetadata, PixelLayout
from streamsr.media.mastering import mastering_parameters
from tests.media_encode.rig import Encoded, encode, even_pts, info_for, probe, settings_for

PQ = ColorTags(9, 9, 16, False, 3)
MASTERING = tuple(
    Fraction(value)
    for value in ("0.708", "0.292", "0.17", "0.797", "0.131", "0.046", "0.3127", "0.329", "0.005", "1000")
)
HDR = HdrMetadata(MASTERING, 1000, 400)


def made(path: Path, codec: str, hdr: HdrMetadata = HDR, color: ColorTags = PQ) -> Encoded:
    info = info_for(PixelLayout("420", 10), color=color, hdr=hdr)
    return encode(path, settings_for(path.suffix, info, codec=codec), even_pts(3))


@pytest.mark.parametrize(("codec", "suffix"), [("hevc", ".mp4"), ("hevc", ".ts"), ("av1", ".mkv"), ("h264", ".mkv")])
def test_metadata_arrives(tmp_path: Path, codec: str, suffix: str) -> None:
    path = made(tmp_path / f"out{suffix}", codec).path
    with av.open(str(path)) as container:
        entries: Any = next(container.decode(video=0)).side_data
    side = {entry.type.name: bytes(entry) for entry in entries}
    numbers = struct.unpack("<20i2i", side["MASTERING_DISPLAY_METADATA"])
    rationals = [Fraction(top, bottom) for top, bottom in zip(numbers[:20:2], numbers[1:20:2], strict=True)]
    for found, wanted in zip(rationals, MASTERING, strict=True):
        assert abs(found - wanted) <= max(Fraction(1, 10000), wanted / 5000)
    assert struct.unpack("<2I", side["CONTENT_LIGHT_LEVEL"]) == (1000, 400)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_ffprobe_agrees(tmp_path: Path, suffix: str) -> None:
    path = made(tmp_path / f"out{suffix}", "hevc").path
    frame = probe(path, frames=True)
    assert (frame["color_transfer"], frame["color_primaries"], frame["color_space"]) == (
        "smpte2084",
        "bt2020",
        "bt2020nc",
    )
    side = {entry["side_data_type"]: entry for entry in frame["side_data_list"]}
    display, light = side["Mastering display metadata"], side["Content light level metadata"]
    assert Fraction(display["red_x"]) == MASTERING[0]
    assert Fraction(display["green_y"]) == MASTERING[3]
    assert Fraction(display["min_luminance"]) == MASTERING[8]
    assert Fraction(display["max_luminance"]) == MASTERING[9]
    assert (light["max_content"], light["max_average"]) == (1000, 400)


def test_hlg_has_tags_and_needs_no_metadata(tmp_path: Path) -> None:
    info = info_for(PixelLayout("420", 10), color=ColorTags(9, 9, 18, False, 1))
    settings = settings_for(".mp4", info)
    assert settings.codec == "hevc"
    said = probe(encode(tmp_path / "out.mp4", settings, even_pts(2)).path)
    assert (said["color_transfer"], said["pix_fmt"]) == ("arib-std-b67", "yuv420p10le")


def test_light_level_alone() -> None:
    only = HdrMetadata(None, 800, None)
    assert mastering_parameters("libx264", only, is_pq=False) == {"cll": "800,0"}
    assert mastering_parameters("libx265", only, is_pq=True)["max-cll"] == "800,0"
    assert mastering_parameters("libsvtav1", only, is_pq=True) == {"content-light": "800,0"}
    assert mastering_parameters("hevc_nvenc", HDR, is_pq=True) == {}
    assert mastering_parameters("libx265", None, is_pq=True) == {}
