"""Every picture comes out, once, in order, as views into the decoder's memory."""

from __future__ import annotations

import gc
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamsr.config import SourceConfig
from streamsr.media.source import open_source
from tests.media import AudioTrack, make_clip, read_number

CLIPS: dict[str, dict[str, Any]] = {
    "a.mp4": {"b_frames": 2},
    "a.mkv": {"b_frames": 3, "gop": 5},
    "hevc.mp4": {"codec": "libx265", "b_frames": 2, "pix_fmt": "yuv420p10le"},
    "a.ts": {"b_frames": 1},
    "a.avi": {"codec": "mpeg4", "b_frames": 1},
    "a.webm": {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "raw.mkv": {"codec": "ffv1", "pix_fmt": "yuv444p12le"},
    "rgb.mkv": {"codec": "ffv1", "pix_fmt": "gbrp10le"},
    "long.mkv": {"audio": [AudioTrack(seconds=3.0)]},
}


@pytest.mark.parametrize("name", CLIPS)
def test_all_pictures_in_order(tmp_path: Path, name: str) -> None:
    clip = make_clip(tmp_path / name, frames=17, **CLIPS[name])
    with open_source(clip, SourceConfig()) as source:
        frames = list(source.frames())
        assert source.frames_decoded == 17
        assert source.notices == []
    assert [read_number(frame.planes[0]) for frame in frames] == list(range(17))
    assert [frame.stamp.index for frame in frames] == list(range(17))
    times = [frame.stamp.time_s for frame in frames]
    assert np.allclose(np.diff(times), 1 / 24, atol=1.1e-3)
    assert all(abs(frame.stamp.duration * frame.stamp.time_base - 1 / 24) < 2e-3 for frame in frames)


def test_planes_are_read_only_views_that_outlive_the_source(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=9, size=(100, 60))
    with open_source(clip, SourceConfig()) as source:
        frames = list(source.frames())
    gc.collect()
    for number, frame in enumerate(frames):
        assert read_number(frame.planes[0]) == number
        for plane in frame.planes:
            assert plane.base is not None
            assert not plane.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                plane[0, 0] = 1


def test_info_of_a_plain_clip(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=24, size=(64, 48), audio=[AudioTrack()])
    with open_source(clip, SourceConfig()) as source:
        info = source.info
        list(source.frames())
        assert source.time_span == (0, round(1 / info.time_base))
    assert (info.codec, info.layout.pix_fmt, info.rate, info.frames_from_header) == (
        "h264",
        "yuv420p",
        Fraction(24),
        24,
    )
    assert info.duration_s == pytest.approx(1.0)
    assert (info.interlaced, info.has_alpha, info.hdr, info.stream_index) == (False, False, None, 0)
    assert "mp4" in info.container


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    for suffix in ("mp4", "mkv"):
        clip = make_clip(tmp_path / f"a.{suffix}", frames=3, size=(16, 16), cover=True, codec="libx264")
        with open_source(clip, SourceConfig()) as source:
            assert source.info.codec == "h264"
            assert len(list(source.frames())) == 3


def test_alpha_is_noticed(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", frames=2, codec="ffv1", pix_fmt="yuva420p")
    with open_source(clip, SourceConfig()) as source:
        assert source.info.has_alpha
        assert source.notices == ["alpha channel is not kept"]
        assert [read_number(frame.planes[0]) for frame in source.frames()] == [0, 1]
