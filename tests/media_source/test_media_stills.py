"""Stills and chosen moments of clips as RGB: the right ones, the right colours, upright; clips written for people."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import threading
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamsr.errors import ConfigError, SinkError, SourceError
from streamsr.media.stills import BEHIND, clip_length, read_clip, read_picture, write_clip
from tests.media import make_clip, read_number

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is the judge")


def soft_picture(width: int = 81, height: int = 61) -> np.ndarray:
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def error(a: np.ndarray, b: np.ndarray) -> tuple[float, int]:
    """Mean and greatest difference."""
    difference = np.abs(a.astype(int) - b)
    return float(difference.mean()), int(difference.max())


def numbers(pictures: list[np.ndarray]) -> list[int]:
    return [read_number(picture[..., 1]) for picture in pictures]


@pytest.mark.parametrize(
    ("name", "mean", "most"),
    [("a.png", 0, 0), ("a.bmp", 0, 0), ("a.tif", 0, 0), ("a.webp", 0, 0), ("a.jpg", 2, 16), ("a.avif", 4, 60)],
)
@pytest.mark.parametrize("size", [(80, 60), (81, 61)])
def test_picture_of_each_kind(name: str, mean: float, most: int, size: tuple[int, int], tmp_path: Path) -> None:
    picture = soft_picture(*size)
    assert cv2.imwrite(str(tmp_path / name), picture[..., ::-1])
    found = read_picture(tmp_path / name)
    assert found.shape == picture.shape
    assert found.dtype == np.uint8
    assert error(found, picture)[0] <= mean
    assert error(found, picture)[1] <= most


def test_depth_gray_palette_and_alpha(tmp_path: Path) -> None:
    picture = soft_picture()
    half = np.full(picture.shape[:2], 128, np.uint8)
    cv2.imwrite(str(tmp_path / "deep.png"), picture[..., ::-1].astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "gray.png"), picture[..., 0])
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([picture[..., ::-1], half]))
    cv2.imwrite(str(tmp_path / "alpha16.png"), np.dstack([picture[..., ::-1], half]).astype(np.uint16) * 257)
    assert np.array_equal(read_picture(tmp_path / "deep.png"), picture)
    assert np.array_equal(read_picture(tmp_path / "gray.png"), np.repeat(picture[..., :1], 3, 2))
    mixed = (picture.astype(int) * 128 + BEHIND * 127 + 127) // 255
    assert error(read_picture(tmp_path / "alpha.png"), mixed) == (0, 0)
    assert error(read_picture(tmp_path / "alpha16.png"), mixed) == (0, 0)


@needs_ffmpeg
def test_palette(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), soft_picture()[..., ::-1])
    for name in ("p.gif", "p.png"):
        options = ["-pix_fmt", "pal8"] if name.endswith(".png") else []
        command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.png"), *options, str(tmp_path / name)]
        subprocess.run(command, check=True, timeout=60)
        found = read_picture(tmp_path / name)
        assert found.shape == (61, 81, 3)
        assert len(np.unique(found.reshape(-1, 3), axis=0)) <= 256
        assert error(found, soft_picture())[0] < 25


def with_exif(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x112, 3, 1, orientation, 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + jpeg[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, tmp_path: Path) -> None:
    picture = soft_picture(48, 32)
    data = cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes()
    (tmp_path / "a.jpg").write_bytes(with_exif(data, orientation))
    judge = cv2.imread(str(tmp_path / "a.jpg"))  # OpenCV heeds it
    assert judge is not None
    found = read_picture(tmp_path / "a.jpg")
    assert found.shape == judge.shape
    assert error(found, judge[..., ::-1])[0] < 2


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".avif"])
def test_half_a_picture_is_none(suffix: str, tmp_path: Path) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    cv2.imwrite(str(whole), soft_picture()[..., ::-1])
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    with pytest.raises(SourceError, match=f"cut{suffix}"):
        read_picture(cut)


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture at all " * 20)
    for name in ("empty.png", "text.png", "missing.png", "."):
        with pytest.raises(SourceError) as caught:
            read_picture(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(SourceError):
            read_clip(tmp_path / name, 0, 1)


@pytest.mark.parametrize(
    ("suffix", "codec", "b_frames"),
    [
        (".mp4", "libx264", 3),
        (".mkv", "libx264", 2),
        (".ts", "mpeg2video", 2),
        (".avi", "mpeg4", 0),
        (".mkv", "ffv1", 0),
    ],
)
def test_moments_of_a_clip(suffix: str, codec: str, b_frames: int, tmp_path: Path) -> None:
    path = make_clip(tmp_path / f"a{suffix}", frames=40, codec=codec, b_frames=b_frames, gop=12)
    assert clip_length(path) == 40
    assert numbers(read_clip(path, 0, 5)) == [0, 1, 2, 3, 4]
    assert numbers(read_clip(path, 17, 3, 4)) == [17, 21, 25]
    assert numbers(read_clip(path, 38, 2)) == [38, 39]
    for start in (11, 12, 13, 25):
        assert numbers(read_clip(path, start, 1)) == [start]
    with pytest.raises(SourceError, match="has 40 pictures"):
        read_clip(path, 30, 6, 2)
    with pytest.raises(ValueError, match="step 0"):
        read_clip(path, 0, 1, 0)


def test_moments_at_a_variable_rate(tmp_path: Path) -> None:
    pts = [0, 10, 11, 13, 40, 41, 90, 91, 92, 200, 201, 260]
    path = make_clip(tmp_path / "a.mkv", frames=12, pts=pts, time_base=Fraction(1, 100), b_frames=2, gop=5)
    assert clip_length(path) == 12
    assert numbers(read_clip(path, 0, 12)) == list(range(12))
    assert numbers(read_clip(path, 7, 2, 3)) == [7, 10]


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", frames=6)
    assert clip_length(path) == 6
    make_clip(path, frames=9, first_number=50)
    os.utime(path, ns=(1, 1))
    assert clip_length(path) == 9
    assert numbers(read_clip(path, 8, 1)) == [58]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_clips_are_turned_upright(rotation: int, tmp_path: Path) -> None:
    upright = read_clip(make_clip(tmp_path / "a.mp4", frames=2), 0, 1)[0]
    turned = read_clip(make_clip(tmp_path / "b.mp4", frames=2, rotation=rotation), 0, 1)[0]
    assert error(turned, np.rot90(upright, rotation // 90)) == (0, 0)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("pix_fmt", "matrix", "full_range"),
    [
        ("yuv420p", 1, False),
        ("yuv420p", 6, False),
        ("yuv420p", 1, True),
        ("yuv422p", 5, False),
        ("yuv444p", 9, False),
        ("yuv420p10le", 1, False),
        ("yuv444p10le", 9, True),
        ("yuv422p10le", 6, False),
    ],
)
def test_colours_agree_with_ffmpeg(pix_fmt: str, matrix: int, full_range: bool, tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "a.mkv", frames=2, codec="ffv1", pix_fmt=pix_fmt, matrix=matrix, full_range=full_range, size=(64, 48)
    )
    scale = "scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-vf", scale]
    raw = subprocess.run(
        [*command, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"], capture_output=True, check=True, timeout=60
    ).stdout
    judge = np.frombuffer(raw, np.uint8).reshape(48, 64, 3)
    mean, most = error(read_clip(path, 0, 1)[0], judge)
    assert most <= 2
    assert mean < 1


@needs_ffmpeg
def test_chroma_sits_where_the_file_says(media_dir: Path) -> None:
    """Left, as decoders of MPEG-4 and H.264 say; FFmpeg's program has to be told. Equal to the last bit."""
    for name in ("bbb-176x144-mpeg4.mp4", "flower-540p-h264-aac.mp4"):
        path = media_dir / "clips" / name
        scale = "scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp:in_h_chr_pos=0:in_v_chr_pos=128"
        command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v:0", "-frames:v", "1", "-vf", scale]
        raw = subprocess.run(
            [*command, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"], capture_output=True, check=True, timeout=60
        ).stdout
        found = read_clip(path, 0, 1)[0]
        assert error(found, np.frombuffer(raw, np.uint8).reshape(found.shape))[1] <= 1


def test_interlaced_pictures_come_as_they_are(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", frames=6, interlaced="tff")
    assert numbers(read_clip(path, 0, 6)) == list(range(6))


def test_real_clips(media_dir: Path) -> None:
    for name in ("bbb-176x144-mpeg4.mp4", "sintel-5s.mp4", "nasa-270p-2v2a2s.mp4", "fate-sintel-signbias.ivf"):
        path = media_dir / "clips" / name
        length = clip_length(path)
        middle = length // 2
        one, (other, *_) = read_clip(path, middle, 1)[0], read_clip(path, middle, 2)
        assert np.array_equal(one, other)
        assert np.array_equal(read_clip(path, 0, 2, middle)[-1], one), "the same from the beginning and after a seek"


def test_broken_files_are_named_and_never_half(media_dir: Path) -> None:
    for name in ("fz-bogus.ogv", "fz-short-cenc.mp4", "lpms-zero-frame.ts", "zero-byte.webm", "fz-0-timescale.mp4"):
        with pytest.raises(SourceError, match=name):
            read_clip(media_dir / "broken" / name, 0, 1)
    for name in ("pil-broken_data_stream.png", "pil-decompression_bomb.gif", "pil-truncated_jpeg.jpg"):
        with pytest.raises(SourceError, match=name):
            read_picture(media_dir / "broken" / name)


def test_real_stills(train_dir: Path) -> None:
    found = read_picture(train_dir / "cartoon" / "avif-bbb_4k.avif")
    assert found.shape == (2160, 3840, 3)
    assert 20 < found.mean() < 235


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("size", [(96, 64), (97, 63)])
def test_written_clips(suffix: str, size: tuple[int, int], tmp_path: Path) -> None:
    wide = soft_picture(size[0] + 20, size[1])
    frames = [np.ascontiguousarray(wide[:, number : number + size[0]]) for number in range(20)]
    path = tmp_path / f"a{suffix}"
    assert write_clip(path, iter(frames), Fraction(24000, 1001)) == 20
    assert clip_length(path) == 20
    found = [picture[: size[1], : size[0]] for picture in read_clip(path, 0, 20)]
    if suffix == ".mkv":
        assert error(np.stack(found), np.stack(frames)) == (0, 0)
    else:
        assert error(np.stack(found), np.stack(frames))[0] < 1.5
        assert np.abs((np.stack(found).astype(float) - np.stack(frames)).mean((0, 1, 2))).max() < 0.5
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is the judge")
def test_every_player_opens_it(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", [soft_picture()] * 3, 25)
    fields = "codec_name,profile,pix_fmt,color_space,color_range,chroma_location,r_frame_rate,nb_frames"
    command = ["ffprobe", "-v", "error", "-show_entries", f"stream={fields}", "-of", "default=nk=0:nw=1"]
    said = subprocess.run([*command, tmp_path / "a.mp4"], capture_output=True, text=True, timeout=60, check=True).stdout
    for line in ("codec_name=h264", "profile=High", "pix_fmt=yuv420p", "color_space=bt709", "color_range=tv"):
        assert line in said
    for line in ("chroma_location=left", "r_frame_rate=25/1", "nb_frames=3"):
        assert line in said


def test_written_clips_replace_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_clip(path, [soft_picture()] * 2, 25)
    before = path.read_bytes()
    with pytest.raises(SinkError, match="exists"):
        write_clip(path, [soft_picture()] * 3, 25)
    assert path.read_bytes() == before
    assert write_clip(path, [soft_picture()] * 3, 25, overwrite=True) == 3
    with pytest.raises(ConfigError, match="input itself"):
        write_clip(path, [soft_picture()], 25, source=path, overwrite=True)
    with pytest.raises(ConfigError, match="written as"):
        write_clip(tmp_path / "a.gif", [soft_picture()], 25)
    with pytest.raises(ConfigError, match="no pictures"):
        write_clip(tmp_path / "b.mp4", [], 25)
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    def frames() -> object:
        yield soft_picture()
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_clip(tmp_path / "a.mp4", frames(), 25)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []
    assert threading.active_count() == 1
