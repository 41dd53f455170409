"""Every file of the collection goes through the whole path: what comes out is judged by ffprobe and ffmpeg."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from pipelines.upscale import upscale_file
from streamsr.errors import SourceError
from tests.pipelines.jobs import Ears, decode_errors, display_aspect, job, kinds, main_video, probe


@dataclass(frozen=True)
class Outcome:
    """What must be in the output, of the first `seconds` of the file (None: of all of it)."""

    frames: int
    size: tuple[int, int]
    pix_fmt: str
    kinds: str = "V"
    """A letter for each stream: Video, Audio, Subtitle, Data, aTtachment, Cover."""
    seconds: float | None = 0.4
    aspect: str = "1:1"
    suffix: str = ".mkv"
    chapters: int = 0
    deinterlaced: bool = False
    words: str = ""
    """In one of the notices."""


SD, HD, FHD = (640, 360), (1280, 720), (1920, 1080)
YUV, FULL, TEN = "yuv420p", "yuvj420p", "yuv420p10le"
WORKS = {
    "clips/bbb-1080p24-hevc-aac51.ts": Outcome(3, FHD, YUV, "AV", 0.1),
    "clips/bbb-1080p24-rot90.mp4": Outcome(1, (1080, 1920), YUV, "AV", 0.1, suffix=".mp4"),
    "clips/bbb-1080p60-h264-aac51.mp4": Outcome(6, FHD, YUV, "AV", 0.1, suffix=".mp4"),
    "clips/bbb-1080p60-vp8-vorbis51.webm": Outcome(3, FHD, YUV, "AV", 0.05, suffix=".webm"),
    "clips/bbb-176x144-mpeg4.mp4": Outcome(6, (176, 144), YUV, suffix=".mp4"),
    "clips/bbb-720p24-vp8-vorbis-30s.webm": Outcome(5, HD, YUV, "AV", 0.2, suffix=".webm"),
    "clips/bbb-720p25-h264-aac51.mp4": Outcome(5, HD, YUV, "AV", 0.2, suffix=".mov"),
    "clips/bbb-800x640-sar64_45-h264.mp4": Outcome(12, (800, 640), YUV, aspect="64:45", suffix=".mp4"),
    "clips/bug-360p-noaudio.mp4": Outcome(12, SD, YUV, suffix=".mp4"),
    "clips/fate-sintel-signbias.ivf": Outcome(9, (854, 480), YUV, words="2 timestamps out of order"),
    "clips/flower-540p-h264-aac.mp4": Outcome(12, (960, 540), YUV, "AV", suffix=".mp4"),
    "clips/friday-480p-bw-film.mp4": Outcome(12, (640, 480), YUV, "AV", suffix=".mp4"),
    "clips/intel-car-detection.mp4": Outcome(5, (768, 432), YUV, "AV", suffix=".mp4"),
    "clips/nasa-270p-2v2a2s.mp4": Outcome(12, (480, 270), YUV, "AASSVV", suffix=".mp4", words="further video track"),
    "clips/sintel-5s.mp4": Outcome(10, (854, 480), YUV, "AV", suffix=".mp4"),
    "clips/tears-of-steel-800x332-vp8-vorbis.webm": Outcome(10, (800, 332), YUV, "AV", aspect="399:400"),
    "odd/ax-white-1x1.jpg": Outcome(1, (2, 2), "yuvj444p", seconds=None),
    "odd/fate-12bpp.jpg": Outcome(1, (1000, 748), "yuv420p12le", seconds=None),
    "odd/fate-242_4.mkv": Outcome(10, (720, 480), YUV, "ASSSV"),
    "odd/fate-RRSF49-short.webm": Outcome(5, SD, YUV, "AV", 0.2, suffix=".webm"),
    "odd/fate-amve.mp4": Outcome(24, SD, TEN, seconds=None, suffix=".mp4"),
    "odd/fate-anim.mkv": Outcome(71, (320, 180), "yuv444p", seconds=None),
    "odd/fate-cfhd_odd.mov": Outcome(10, (496, 240), "yuv422p10le", seconds=None, suffix=".mov"),
    "odd/fate-displaymatrix.mov": Outcome(33, (240, 160), YUV, seconds=None, aspect="2:1", suffix=".mov"),
    "odd/fate-empty_edit_5s.mp4": Outcome(2, (320, 240), "yuv444p", "V", 5.2, suffix=".mp4"),
    "odd/fate-hdr10tags-both.mkv": Outcome(10, (320, 560), TEN, "TV", None, chapters=2),
    "odd/fate-interlaced_crop.mp4": Outcome(10, SD, YUV, suffix=".mp4", deinterlaced=True),
    "odd/fate-mov_neg_first_pts_discard.mov": Outcome(15, (320, 240), YUV, seconds=None, suffix=".mov"),
    "odd/fate-mpeg2_field_encoding.ts": Outcome(31, (720, 576), YUV, seconds=None, aspect="16:15", deinterlaced=True),
    "odd/fate-packed_bframes.avi": Outcome(15, (544, 352), YUV, seconds=None, words="timestamps out of order"),
    "odd/fate-sample-in-issue-505.mp4": Outcome(12, (272, 480), YUV, "AV", suffix=".mp4"),
    "odd/fate-test-4867.flv": Outcome(5, FHD, YUV, "AV", 0.1),
    "odd/fate-vp80-00-comprehensive-014.ivf": Outcome(49, (176, 144), YUV, seconds=None),
    "odd/fate-vp8_video_with_alpha.webm": Outcome(12, (320, 212), YUV, suffix=".webm", words="alpha channel"),
    "odd/fate-vp90-2-05-resize.ivf": Outcome(10, (352, 288), YUV, seconds=None),
    "odd/mb-edts.mp4": Outcome(10, (854, 480), YUV, "AV", aspect="1280:1281", suffix=".mp4"),
    "odd/mb-sar_2x1.mp4": Outcome(12, SD, YUV, aspect="2:1", suffix=".mp4"),
    "odd/mb-video-h265.mp4": Outcome(3, FHD, FULL, "AV", 0.1, suffix=".mp4"),
    "odd/realesrgan-children-alpha.png": Outcome(1, (566, 350), YUV, seconds=None, words="alpha channel"),
    "odd/realesrgan-tree_alpha_16bit.png": Outcome(1, (342, 256), "yuv420p12le", seconds=None, words="alpha channel"),
    "odd/zune-cymk.jpg": Outcome(1, (600, 396), YUV, seconds=None, words="alpha channel"),
    "broken/ax-sample_with_invalid_nalu.mp4": Outcome(6, (1080, 720), YUV, seconds=0.2),
    "broken/fate-1242-small.mkv": Outcome(12, (1280, 718), YUV, "AV", None),
    "broken/fate-brokensps.flv": Outcome(79, (192, 144), YUV, seconds=None),
    "broken/fate-wwwq_cut.mp4": Outcome(6, HD, YUV, "AV", 0.2, aspect="3:4", words="cannot hold it"),
    "broken/mb-no-initial-keyframe.ts": Outcome(15, (640, 352), YUV, "AV", None, aspect="44:45"),
    "broken/nestegg-demo_short.webm": Outcome(1, (638, 480), YUV, "AV", None),
    "broken/pil-truncated_jpeg.jpg": Outcome(1, (100, 100), FULL, seconds=None),
    "broken/videotest.mp4": Outcome(70, (320, 240), YUV, seconds=None),
}
FAILS = {
    "odd/mb-sample.flac": "has no video track, only audio, cover art",
    "broken/fz-0-timescale.mp4": "no picture could be decoded",
    "broken/fz-bogus.ogv": "not a media file",
    "broken/fz-bug504843.ogv": "no picture could be decoded",
    "broken/fz-short-cenc.mp4": "the video is encrypted",
    "broken/lpms-zero-frame.ts": "no picture could be decoded",
    "broken/pil-broken_data_stream.png": "no picture could be decoded",
    "broken/pil-decompression_bomb.gif": "no picture could be decoded",
    "broken/zero-byte.webm": "the file is empty",
}


def material(name: str) -> Path:
    folder = os.environ.get("STREAMSR_MEDIA")
    if not folder:
        pytest.skip("set STREAMSR_MEDIA to a folder with clips/, odd/ and broken/")
    return Path(folder) / name


def test_every_file_has_an_expected_outcome() -> None:
    root = material("")
    found = {f"{path.parent.name}/{path.name}" for path in root.glob("*/*")}
    assert {name for name in found if name.startswith(("clips/", "odd/", "broken/"))} == {*WORKS, *FAILS}


@pytest.mark.parametrize("name", WORKS)
def test_file_is_upscaled(tmp_path: Path, tiny_model: Path, name: str) -> None:
    expected, source = WORKS[name], material(name)
    target = tmp_path / f"out{expected.suffix}"
    ears = Ears()
    preset = "auto" if expected.suffix == ".webm" else "ultrafast"
    cfg = job(tiny_model, source__duration_s=expected.seconds, encode__preset=preset)
    report = upscale_file(cfg, source, target, ears)

    before, after = probe(source), probe(target, "-count_packets")
    video = main_video(after)
    assert report.frames_in == report.frames_out == int(video["nb_read_packets"]) == expected.frames
    assert ((video["width"], video["height"]), video["pix_fmt"]) == (expected.size, expected.pix_fmt)
    assert video.get("sample_aspect_ratio", "1:1") == expected.aspect
    assert (kinds(after), len(after["chapters"])) == (expected.kinds, expected.chapters)
    assert len(before["chapters"]) == expected.chapters
    notices = report.facts["notices"]
    assert any("deinterlaced" in line for line in notices) == expected.deinterlaced
    assert any(expected.words in line for line in [*notices, ""])
    check_aspect(report.facts["source"], video)
    check_colour(main_video(before), video)
    if "broken" not in name:
        assert decode_errors(target) == ""
    assert list(tmp_path.iterdir()) == [target]


def check_aspect(source: dict[str, Any], video: dict[str, Any]) -> None:
    """The picture is shown in the shape it had, but for the pixel by which a side is rounded to be even."""
    width, height = source["upright_size"]
    shown = display_aspect(video["width"], video["height"], video.get("sample_aspect_ratio"))
    wanted = Fraction(source["display_aspect"])
    if min(width, height) > 1:
        assert abs(float(shown / wanted) - 1) <= 2 / min(width, height) * (width % 2 or height % 2) + 1e-9


def check_colour(before: dict[str, Any], after: dict[str, Any]) -> None:
    """What the source says of its colours, the output says too; so does every HDR source of its mastering."""
    if not before.get("pix_fmt", "").startswith("yuv") or "color_space" not in before:
        return
    for key in ("color_space", "color_primaries", "color_transfer", "color_range"):
        if before.get(key, "unknown") != "unknown":
            assert after[key] == before[key], key


@pytest.mark.parametrize("name", FAILS)
def test_file_is_refused(tmp_path: Path, tiny_model: Path, name: str) -> None:
    source = material(name)
    with pytest.raises(SourceError) as caught:
        upscale_file(job(tiny_model), source, tmp_path / "out.mkv", Ears())
    assert FAILS[name] in str(caught.value)
    assert str(source) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_hdr10_is_carried(tmp_path: Path, tiny_model: Path) -> None:
    source, target = material("odd/fate-hdr10tags-both.mkv"), tmp_path / "out.mkv"
    upscale_file(job(tiny_model, encode__preset="ultrafast"), source, target, Ears())
    first = [side_data(path) for path in (source, target)]
    assert first[0]["Mastering display metadata"]
    for kind in ("Mastering display metadata", "Content light level metadata"):
        assert rationals(first[1][kind]) == pytest.approx(rationals(first[0][kind]), abs=1e-4)
    video = main_video(probe(target))
    assert (video["color_transfer"], video["color_space"], video["color_primaries"]) == (
        "smpte2084",
        "bt2020nc",
        "bt2020",
    )


def side_data(path: Path) -> dict[str, dict[str, Any]]:
    found = probe(path, "-show_frames", "-read_intervals", "%+#1", "-select_streams", "v:0")
    # This file says other things in its header than in its bitstream, which decoders believe.
    every = [*main_video(found).get("side_data_list", ()), *found["frames"][0].get("side_data_list", ())]
    return {each["side_data_type"]: {k: v for k, v in each.items() if k != "side_data_type"} for each in every}


def rationals(values: dict[str, Any]) -> dict[str, float]:
    return {key: float(Fraction(value)) for key, value in values.items()}


def test_a_range_without_pictures_is_told_as_such(tmp_path: Path, tiny_model: Path) -> None:
    source = material("odd/fate-empty_edit_5s.mp4")
    with pytest.raises(SourceError, match=r"no picture between 0 s and 0\.4 s") as caught:
        upscale_file(job(tiny_model, source__duration_s=0.4), source, tmp_path / "out.mkv", Ears())
    assert "damaged" not in str(caught.value)
