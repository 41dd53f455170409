"""Real clips, odd ones and broken ones: what must come out of each. Counts agree with ffprobe -count_frames."""

from __future__ import annotations

import os
import zlib
from fractions import Fraction
from pathlib import Path

import pytest

from streamsr.config import SourceConfig
from streamsr.errors import SourceError
from streamsr.frames import Orientation, VideoInfo
from streamsr.media.source import open_source

FIRST_SECOND = {
    "bbb-1080p24-hevc-aac51.ts": 24,
    "bbb-1080p24-rot90.mp4": 22,
    "bbb-1080p60-h264-aac51.mp4": 60,
    "bbb-1080p60-vp8-vorbis51.webm": 60,
    "bbb-176x144-mpeg4.mp4": 15,
    "bbb-720p24-vp8-vorbis-30s.webm": 24,
    "bbb-720p25-h264-aac51.mp4": 25,
    "bbb-800x640-sar64_45-h264.mp4": 30,
    "bug-360p-noaudio.mp4": 30,
    "fate-sintel-signbias.ivf": 9,
    "flower-540p-h264-aac.mp4": 30,
    "friday-480p-bw-film.mp4": 30,
    "intel-car-detection.mp4": 13,
    "nasa-270p-2v2a2s.mp4": 30,
    "sintel-5s.mp4": 24,
    "tears-of-steel-800x332-vp8-vorbis.webm": 24,
}
WHOLE: dict[str, int | str] = {
    "odd/ax-white-1x1.jpg": 1,
    "odd/fate-12bpp.jpg": 1,
    "odd/fate-242_4.mkv": 207,
    "odd/fate-RRSF49-short.webm": 107,
    "odd/fate-amve.mp4": 24,
    "odd/fate-anim.mkv": 71,
    "odd/fate-cfhd_odd.mov": 10,
    "odd/fate-displaymatrix.mov": 33,
    "odd/fate-empty_edit_5s.mp4": 100,
    "odd/fate-hdr10tags-both.mkv": 10,
    "odd/fate-interlaced_crop.mp4": 126,
    "odd/fate-mov_neg_first_pts_discard.mov": 15,
    "odd/fate-mpeg2_field_encoding.ts": 31,
    "odd/fate-packed_bframes.avi": 15,
    "odd/fate-sample-in-issue-505.mp4": 105,
    "odd/fate-vp80-00-comprehensive-014.ivf": 49,
    "odd/fate-vp8_video_with_alpha.webm": 120,
    "odd/fate-vp90-2-05-resize.ivf": 10,
    "odd/mb-edts.mp4": 225,
    "odd/mb-sample.flac": "has no video track, only audio, cover art",
    "odd/mb-sar_2x1.mp4": 150,
    "odd/realesrgan-children-alpha.png": 1,
    "odd/realesrgan-tree_alpha_16bit.png": 1,
    "odd/zune-cymk.jpg": 1,
    "broken/ax-sample_with_invalid_nalu.mp4": 29,
    "broken/fate-1242-small.mkv": 12,
    "broken/fate-brokensps.flv": 79,
    "broken/fate-wwwq_cut.mp4": 119,
    "broken/fz-0-timescale.mp4": "no picture could be decoded",
    "broken/fz-bogus.ogv": "not a media file",
    "broken/fz-bug504843.ogv": "no picture could be decoded",
    "broken/fz-short-cenc.mp4": "the video is encrypted",
    "broken/lpms-zero-frame.ts": "no picture could be decoded",
    "broken/mb-no-initial-keyframe.ts": 15,
    "broken/nestegg-demo_short.webm": 1,
    "broken/pil-broken_data_stream.png": "no picture could be decoded",
    "broken/pil-decompression_bomb.gif": "no picture could be decoded",
    "broken/pil-truncated_jpeg.jpg": 1,
    "broken/videotest.mp4": 70,
    "broken/zero-byte.webm": "the file is empty",
}
TWO_SECONDS = {"odd/fate-test-4867.flv": 119, "odd/mb-video-h265.mp4": 60}


def material(name: str) -> Path:
    folder = os.environ.get("STREAMSR_MEDIA")
    if not folder:
        pytest.skip("set STREAMSR_MEDIA to a folder with clips/, odd/ and broken/")
    return Path(folder) / name


def count(path: Path, cfg: SourceConfig) -> int:
    """Number of pictures; their stamps grow, meet, and their indices have no gap."""
    with open_source(path, cfg) as source:
        number, end = 0, None
        for frame in source.frames():
            assert frame.stamp.index == number
            assert end is None or frame.stamp.pts == end
            end = frame.stamp.pts + frame.stamp.duration
            number += 1
        assert source.frames_decoded == number
        assert source.time_span is not None
        assert source.time_span[1] == end
    return number


def info_of(name: str) -> tuple[VideoInfo, list[str]]:
    with open_source(material(name), SourceConfig()) as source:
        return source.info, source.notices


def test_every_file_has_an_expected_outcome() -> None:
    expected = {*WHOLE, *TWO_SECONDS, *(f"clips/{name}" for name in FIRST_SECOND)}
    root = material("")
    found = {f"{path.parent.name}/{path.name}" for path in root.glob("*/*")}
    assert {name for name in found if name.startswith(("clips/", "odd/", "broken/"))} == expected


@pytest.mark.parametrize("name", FIRST_SECOND)
def test_first_second_of_ordinary_clips(name: str) -> None:
    assert count(material(f"clips/{name}"), SourceConfig(duration_s=1.0)) == FIRST_SECOND[name]


@pytest.mark.parametrize("name", WHOLE)
def test_odd_and_broken(name: str) -> None:
    expected = WHOLE[name]
    if isinstance(expected, int):
        assert count(material(name), SourceConfig()) == expected
        return
    path = material(name)
    with pytest.raises(SourceError) as caught:
        open_source(path, SourceConfig())
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", TWO_SECONDS)
def test_long_odd_clips(name: str) -> None:
    assert count(material(name), SourceConfig(duration_s=2.0)) == TWO_SECONDS[name]


def test_geometry_of_real_clips() -> None:
    assert info_of("clips/bbb-1080p24-rot90.mp4")[0].orientation == Orientation(90)
    assert info_of("odd/fate-hdr10tags-both.mkv")[0].orientation == Orientation(270, mirrored=True)
    turned = info_of("odd/fate-displaymatrix.mov")[0]
    assert (turned.orientation, turned.sample_aspect) == (Orientation(90), Fraction(1, 2))
    assert (turned.upright_size, turned.upright_sample_aspect) == ((240, 160), Fraction(2))
    assert info_of("odd/mb-sar_2x1.mp4")[0].sample_aspect == 2
    assert info_of("clips/tears-of-steel-800x332-vp8-vorbis.webm")[0].sample_aspect == Fraction(399, 400)
    assert info_of("odd/mb-edts.mp4")[0].sample_aspect == Fraction(1280, 1281)
    assert info_of("clips/nasa-270p-2v2a2s.mp4")[0].width == 480


def test_colour_of_real_clips() -> None:
    hlg = info_of("odd/fate-amve.mp4")[0]
    assert (hlg.layout.pix_fmt, hlg.color.matrix, hlg.color.transfer, hlg.color.chroma_location) == (
        "yuv420p10le",
        9,
        18,
        1,
    )
    pq = info_of("odd/fate-hdr10tags-both.mkv")[0]
    assert pq.color.is_hdr
    assert pq.hdr is not None
    assert (pq.hdr.max_cll, pq.hdr.max_fall) == (1000, 300)
    full = info_of("odd/mb-video-h265.mp4")[0]
    assert (full.color.full_range, full.color.matrix, full.color.chroma_location) == (True, 5, 2)
    assert info_of("clips/bbb-1080p24-hevc-aac51.ts")[0].color.chroma_location == 3
    assert info_of("odd/fate-cfhd_odd.mov")[0].layout.pix_fmt == "yuv422p10le"
    assert info_of("odd/realesrgan-tree_alpha_16bit.png")[0].layout.pix_fmt == "gbrp12le"


def test_rates_and_notices_of_real_clips() -> None:
    assert info_of("odd/fate-RRSF49-short.webm")[0].rate == Fraction(24000, 1001)
    assert info_of("odd/fate-mov_neg_first_pts_discard.mov")[0].frames_from_header is None
    fields, notices = info_of("odd/fate-mpeg2_field_encoding.ts")
    assert fields.interlaced
    assert notices == ["interlaced (bottom field first): deinterlaced with bwdif"]
    alpha, notices = info_of("odd/fate-vp8_video_with_alpha.webm")
    assert alpha.has_alpha
    assert notices == ["alpha channel is not kept"]


def test_sizes_change_in_mid_stream() -> None:
    for name in ("odd/fate-vp90-2-05-resize.ivf", "broken/fate-brokensps.flv"):
        with open_source(material(name), SourceConfig()) as source:
            sizes = {(frame.width, frame.height) for frame in source.frames()}
        assert len(sizes) > 1


def test_an_empty_edit_delays_the_picture() -> None:
    with open_source(material("odd/fate-empty_edit_5s.mp4"), SourceConfig()) as source:
        assert next(source.frames()).stamp.time_s == 5.0


@pytest.mark.parametrize(
    ("name", "start_s"),
    [
        ("clips/bbb-1080p24-hevc-aac51.ts", 2.0),
        ("clips/bbb-800x640-sar64_45-h264.mp4", 1.5),
        ("odd/fate-242_4.mkv", 4.0),
        ("odd/fate-mpeg2_field_encoding.ts", 0.8),
        ("odd/fate-packed_bframes.avi", 0.2),
        ("odd/fate-empty_edit_5s.mp4", 7.0),
        ("odd/fate-cfhd_odd.mov", 0.3),
    ],
)
def test_a_range_holds_the_same_pictures_as_the_whole(name: str, start_s: float) -> None:
    def pictures(cfg: SourceConfig) -> dict[int, int]:
        with open_source(material(name), cfg) as source:
            shift = round(source.origin / source.info.time_base)
            return {frame.stamp.pts + shift: zlib.crc32(frame.planes[0].tobytes()) for frame in source.frames()}

    part = pictures(SourceConfig(start_s=start_s, duration_s=0.3, deinterlace=False))
    whole = pictures(SourceConfig(duration_s=start_s + 0.3, deinterlace=False))
    assert len(part) >= 3
    assert part == {pts: crc for pts, crc in whole.items() if pts >= min(part)}
