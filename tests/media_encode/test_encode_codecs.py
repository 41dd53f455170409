"""Every codec, from numbered pictures to a file that two independent readers agree on."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from streamsr.frames import ColorTags, PixelLayout
from streamsr.runtime.crew import Crew
from tests.media import read_number
from tests.media_encode.rig import BT709, STEP, TICK, decoded, encode, even_pts, info_for, probe, settings_for
from tests.media_encode.spy import tell_modules

DEEP = PixelLayout("420", 10)
PQ = ColorTags(9, 9, 16, False, 3)
FULL = ColorTags(5, 5, 1, True, 1)
CASES = [
    ("h264", ".mp4", PixelLayout(), BT709),
    ("h264", ".ts", PixelLayout(), BT709),
    ("h264", ".mkv", PixelLayout("444"), FULL),
    ("h264", ".mov", PixelLayout("422", 10), BT709),
    ("hevc", ".mp4", DEEP, PQ),
    ("hevc", ".ts", PixelLayout(), BT709),
    ("hevc", ".mkv", PixelLayout("444", 12), BT709),
    ("av1", ".mp4", DEEP, PQ),
    ("av1", ".webm", PixelLayout(), BT709),
    ("vp9", ".webm", PixelLayout(), BT709),
    ("vp9", ".mp4", PixelLayout("444"), FULL),
    ("prores", ".mov", PixelLayout("422", 10), BT709),
    ("prores", ".mkv", PixelLayout("444", 10), BT709),
    ("ffv1", ".mkv", PixelLayout("422", 12), FULL),
]
MATRICES = {1: "bt709", 5: "bt470bg", 9: "bt2020nc"}
TRANSFERS = {1: "bt709", 16: "smpte2084"}


@pytest.mark.parametrize(("codec", "suffix", "layout", "color"), CASES)
def test_pictures_times_and_colour_arrive(
    tmp_path: Path, codec: str, suffix: str, layout: PixelLayout, color: ColorTags
) -> None:
    settings = settings_for(suffix, info_for(layout, color=color), codec=codec, quality=85)
    assert (settings.codec, settings.layout) == (codec, layout)
    done = encode(tmp_path / f"out{suffix}", settings, even_pts(30))

    assert sorted(packet.pts for packet in done.packets) == even_pts(30)
    dts = [packet.dts for packet in done.packets]
    assert all(earlier < later for earlier, later in itertools.pairwise(dts))
    assert all(packet.dts <= packet.pts and packet.duration == STEP for packet in done.packets)
    assert done.packets[0].is_keyframe
    assert done.stats.frames == 30
    assert done.stats.num_bytes == sum(len(packet.data) for packet in done.packets)
    assert done.stats.busy_s > 0

    # FFmpeg reads all ProRes 4444 as 12 bit.
    stored = "yuv444p12le" if codec == "prores" and layout.subsampling == "444" else layout.pix_fmt
    pictures = decoded(done.path, stored)
    assert [read_number(planes[0]) for _, planes in pictures] == list(range(30))
    start = pictures[0][0] if suffix == ".ts" else 0  # MPEG-TS begins later, whatever it is given
    for number, (time, _) in enumerate(pictures):
        assert abs(time - start - number * STEP * TICK) <= Fraction(1, 1000)

    said = probe(done.path)
    assert int(said["nb_read_frames"]) == 30
    assert said["codec_name"] == codec
    assert said["color_space"] == MATRICES[color.matrix]
    assert said["color_range"] == ("pc" if color.full_range else "tv")
    assert said["color_transfer"] == TRANSFERS[color.transfer]


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("h264", ".mp4"),
        ("h264", ".mkv"),
        ("h264", ".ts"),
        ("hevc", ".mp4"),
        ("av1", ".mp4"),
        ("vp9", ".mp4"),
        ("prores", ".mov"),
    ],
)
def test_sample_aspect_is_exact(tmp_path: Path, codec: str, suffix: str) -> None:
    """64:45 on a 3200x2560 picture is what Matroska's display size would round."""
    settings = settings_for(suffix, codec=codec, size=(320, 256), sample_aspect=Fraction(64, 45))
    done = encode(tmp_path / f"out{suffix}", settings, even_pts(3))
    assert probe(done.path)["sample_aspect_ratio"] == "64:45"


@pytest.mark.parametrize(("codec", "suffix"), [("h264", ".mp4"), ("hevc", ".mp4"), ("av1", ".mp4"), ("h264", ".mkv")])
def test_chroma_location_is_kept(tmp_path: Path, codec: str, suffix: str) -> None:
    info = info_for(color=ColorTags(9, 9, 1, False, 3))
    done = encode(tmp_path / f"out{suffix}", settings_for(suffix, info, codec=codec), even_pts(3))
    assert probe(done.path)["chroma_location"] == "topleft"


@pytest.mark.parametrize(("quality", "tag"), [(0, "apco"), (30, "apcs"), (60, "apcn"), (80, "apch")])
def test_prores_profile_follows_quality(tmp_path: Path, quality: int, tag: str) -> None:
    settings = settings_for(".mov", codec="prores", quality=quality)
    assert probe(encode(tmp_path / "out.mov", settings, even_pts(2)).path)["codec_tag_string"] == tag


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9", "ffv1"])
def test_uneven_times_are_kept_to_the_tick(tmp_path: Path, codec: str) -> None:
    pts = [0, 1, 700, 701, 9000, 9512, 200_000, 200_513, 200_514, 1_000_000]
    suffix = ".mkv" if codec == "ffv1" else ".mp4"
    done = encode(tmp_path / f"out{suffix}", settings_for(suffix, codec=codec), pts)
    assert sorted(packet.pts for packet in done.packets) == pts
    if suffix == ".mp4":
        assert [time for time, _ in decoded(done.path, "yuv420p")] == [time * TICK for time in pts]


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
@pytest.mark.parametrize(
    ("rate", "time_base", "step"),
    [
        (Fraction(1000), Fraction(1, 1000), 1),
        (Fraction(10_000_000, 417_083), Fraction(1, 1_000_000), 41_708),
        (Fraction(1, 10), Fraction(1, 90_000), 900_000),
    ],
)
def test_odd_rates_and_small_pictures(
    tmp_path: Path, codec: str, rate: Fraction, time_base: Fraction, step: int
) -> None:
    info = replace(info_for(rate=rate, size=(66, 34)), time_base=time_base)
    done = encode(tmp_path / "out.mp4", settings_for(".mp4", info, codec=codec), [step * number for number in range(5)])
    assert sorted(packet.pts for packet in done.packets) == [step * number for number in range(5)]
    assert all(packet.dts <= packet.pts for packet in done.packets)
    assert int(probe(done.path)["nb_read_frames"]) == 5


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize(("codec", "suffix"), [("h264", ".mp4"), ("hevc", ".mp4"), ("av1", ".mp4"), ("vp9", ".webm")])
def test_short_films(tmp_path: Path, codec: str, suffix: str, count: int) -> None:
    done = encode(tmp_path / f"out{suffix}", settings_for(suffix, codec=codec), even_pts(count))
    assert len(decoded(done.path, "yuv420p")) == count == int(probe(done.path)["nb_read_frames"])


def test_the_process_imports_no_torch() -> None:
    with Crew(20.0) as crew:
        modules = set(crew.process("encode", tell_modules).recv(20.0))
    assert {"av", "numpy"} <= modules
    assert not {"torch", "cv2", "pydantic", "rich", "click"} & modules
