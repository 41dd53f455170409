"""DALI gives the pixels, FFmpeg the times: every picture once, in order, in the file's colours, or an error.

What DALI itself does is tested where it is installed; how its pictures are checked, everywhere."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamsr.config import SourceConfig
from streamsr.errors import SourceError
from streamsr.frames import Frame, PixelLayout, VideoInfo
from streamsr.media import dali
from streamsr.media.planes import SCALER, planes_of
from streamsr.media.source import Device, open_source
from tests.media import AudioTrack, make_clip, read_number

DALI = SourceConfig(decoder="dali")
VP9: dict[str, Any] = {
    "codec": "libvpx-vp9",
    "options": {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "0"},
}
CLIPS: dict[str, dict[str, Any]] = {
    "plain.webm": {**VP9},
    "long.webm": {**VP9, "frames": 53, "gop": 10, "audio": [AudioTrack(codec="libopus", seconds=2.0)]},
    "bt709.webm": {**VP9, "matrix": 1, "primaries": 1, "transfer": 1},
    "full.webm": {**VP9, "matrix": 1, "full_range": True},
    "odd.webm": {"codec": "libvpx", "size": (101, 63), "options": {"deadline": "realtime", "cpu-used": "8"}},
    "motion.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "vfr.mkv": {**VP9, "frames": 9, "pts": [0, 1, 5, 6, 20, 21, 22, 23, 40], "start_s": Fraction(3)},
    "single.webm": {**VP9, "frames": 1},
}
Pixels = Iterator[tuple[int, float, np.ndarray]]


@pytest.fixture
def _installed() -> None:
    pytest.importorskip("nvidia.dali", reason="needs DALI: pip install 'streamsr[dali]'")


def decoded(clip: Path, cfg: SourceConfig, device: Device = "cpu") -> tuple[VideoInfo, list[Frame], list[str]]:
    with open_source(clip, cfg, device=device) as source:
        frames = list(source.frames())
        return source.info, frames, source.notices


def as_rgb(clip: Path, info: VideoInfo) -> list[np.ndarray]:
    """The planes G, B, R of every picture, by PyAV's decoder and swscale."""
    levels = 2 if info.color.full_range else 1
    with av.open(str(clip)) as container:
        pictures = [
            picture.reformat(
                format="gbrp",
                src_colorspace=info.color.matrix,
                src_color_range=levels,
                dst_color_range=2,
                interpolation=int(SCALER),
            )
            for picture in container.decode(video=0)
        ]
    return [np.stack(planes_of(picture, PixelLayout("444", 8, is_rgb=True))) for picture in pictures]


def compare(clip: Path, device: Device = "cpu") -> tuple[float, int]:
    """Mean and largest difference to PyAV's pictures, after all else has been found equal."""
    info, expected, _ = decoded(clip, SourceConfig(decoder="cpu"))
    own, frames, notices = decoded(clip, DALI, device)
    assert notices == [dali.NOTICE]
    assert [frame.stamp for frame in frames] == [frame.stamp for frame in expected]
    assert [read_number(frame.planes[0]) for frame in frames] == list(range(len(expected)))
    assert own.layout == PixelLayout("444", 8, is_rgb=True)
    assert (own.color.matrix, own.color.full_range) == (0, True)
    assert (own.color.primaries, own.color.transfer) == (info.color.primaries, info.color.transfer)
    assert (own.width, own.height, own.rate, own.duration_s) == (info.width, info.height, info.rate, info.duration_s)
    differences = [
        np.abs(np.stack(frame.planes).astype(int) - rgb) for frame, rgb in zip(frames, as_rgb(clip, info), strict=True)
    ]
    return float(np.mean(differences)), int(np.max(differences))


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("name", CLIPS)
def test_pictures_are_those_of_ffmpeg(tmp_path: Path, name: str) -> None:
    clip = make_clip(tmp_path / name, **{"frames": 17, "size": (160, 96), **CLIPS[name]})
    mean, most = compare(clip)
    assert mean < 1.0
    assert most <= 12  # where a colour outside RGB was cut off by BT.601 and is then read as BT.709


@pytest.mark.gpu
@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_pictures_of_the_gpu_are_those_of_ffmpeg(tmp_path: Path, codec: str) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=37, size=(320, 192), codec=codec, b_frames=2, matrix=1)
    mean, most = compare(clip, "cuda")
    assert mean < 2.0
    assert most <= 24  # DALI interpolates chroma otherwise than swscale


@pytest.mark.usefixtures("_installed")
def test_h264_needs_a_gpu(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=3, size=(160, 96))
    with pytest.raises(SourceError, match=r"DALI does not decode this h264 file without a GPU.*--decoder auto"):
        decoded(clip, DALI)


@pytest.mark.usefixtures("_installed")
def test_a_range_and_an_early_end_leave_no_thread(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.webm", frames=48, size=(160, 96), **VP9)
    decoded(clip, DALI)  # what the library starts once stays
    gc.collect()
    before = len(os.listdir("/proc/self/task"))
    _, frames, _ = decoded(clip, SourceConfig(decoder="dali", start_s=0.5, duration_s=0.5))
    assert [read_number(frame.planes[0]) for frame in frames] == list(range(12, 24))
    with open_source(clip, DALI) as source:
        assert len(list(islice(source.frames(), 3))) == 3
    del source
    gc.collect()
    assert len(os.listdir("/proc/self/task")) == before


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "a.webm", frames=1, size=(160, 96), **VP9)
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(SourceError, match=r"DALI is not installed.*pip install 'streamsr\[dali\]'"):
        open_source(clip, DALI)


def lost(pictures: Pixels) -> Pixels:
    """DALI's last, shorter sequence is dropped."""
    return islice(pictures, 16)


def shifted(pictures: Pixels) -> Pixels:
    """One is missing, the numbers are not."""
    for index, second, rgb in pictures:
        if index != 8:
            yield index - (index > 8), second, rgb


def doubled(pictures: Pixels) -> Pixels:
    for index, second, rgb in pictures:
        yield index, second, rgb
        if index == 8:
            yield index, second, rgb


def one_more(pictures: Pixels) -> Pixels:
    for item in pictures:
        yield item
    yield 17, 17 / 24, item[2]


def smaller(pictures: Pixels) -> Pixels:
    return ((index, second, rgb[:-2]) for index, second, rgb in pictures)


WRONG: dict[Callable[[Pixels], Pixels], str] = {
    lost: "DALI gives 16 pictures of 17",
    shifted: "DALI shows picture 8 at 0.375 s, not at 0.333 s",
    doubled: "DALI gives picture 8 where 9 of 17 is due",
    one_more: "DALI gives picture 17 where 17 of 17 is due",
    smaller: "DALI gives pictures of 160x94 for 160x96",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_pictures_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Pixels], Pixels]
) -> None:
    def pixels(_: Any, path: str, *args: Any, **options: Any) -> Pixels:
        with av.open(path) as container:
            pictures = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
        return wrong((index, round(index / 24, 3), picture) for index, picture in enumerate(pictures))

    monkeypatch.setattr(dali, "require", lambda: None)
    monkeypatch.setattr(dali, "_pixels", pixels)
    clip = make_clip(tmp_path / "a.avi", frames=17, size=(160, 96), codec="mjpeg", pix_fmt="yuvj420p")
    with pytest.raises(SourceError, match=WRONG[wrong]):
        decoded(clip, DALI)


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "deep.mp4": ("DALI would change yuv420p10le", {"codec": "libx265", "pix_fmt": "yuv420p10le"}),
    "chroma.mp4": ("DALI would change yuv444p", {"pix_fmt": "yuv444p"}),
    "fields.mp4": ("interlaced video", {"interlaced": "tff"}),
    "turned.mp4": ("turned pictures", {"rotation": 90}),
    "old.avi": ("does not decode mpeg4", {"codec": "mpeg4"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_rgb_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(dali, "require", lambda: None)
    says, changes = REFUSED[name]
    clip = make_clip(tmp_path / name, frames=3, size=(160, 96), **changes)
    with pytest.raises(SourceError, match=says) as caught:
        open_source(clip, DALI)
    assert "--decoder auto" in str(caught.value)


def test_hidden_pictures_are_refused(media_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali, "require", lambda: None)
    with pytest.raises(SourceError, match="hidden pictures"):
        open_source(media_dir / "clips/fate-sintel-signbias.ivf", DALI)


def test_another_size_in_mid_stream_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dali, "require", lambda: None)
    clip = tmp_path / "both.mkv"
    with av.open(str(clip), "w") as output:
        stream = None
        for shift, side in ((0, 64), (5000, 96)):
            part = make_clip(tmp_path / f"{side}.mkv", frames=5, size=(side, side), codec="mjpeg", pix_fmt="yuvj420p")
            with av.open(str(part)) as container:
                stream = stream or output.add_stream_from_template(container.streams.video[0])
                for packet in container.demux(video=0):
                    if packet.pts is not None and packet.dts is not None:
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                        output.mux(packet)
    with pytest.raises(SourceError, match="the size changes in mid-stream"):
        open_source(clip, DALI)
