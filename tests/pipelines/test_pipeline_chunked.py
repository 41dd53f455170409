"""A film in chunks is the film in one piece: the same pictures, times, sound and all else."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.media import AudioTrack, SubtitleTrack, make_clip
from tests.pipelines.chunk_jobs import both, check_alike, chunk_job, inline

__all__ = ["inline"]

VFR = [0, 40, 90, 91, 200, 240, 300, 420, 480, 481, 482, 600, 640, 720, 800, 960, 1000, 1040, 1100, 1300, 1310, 1400]
CLIPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "b-frames": {"b_frames": 2},
    "open-gop": {"b_frames": 3, "options": {"x264-params": "open-gop=1:keyint=12:min-keyint=12"}, "gop": 12},
    "open-gop-hevc": {
        "codec": "libx265", "size": (96, 64), "b_frames": 3,
        "options": {"x265-params": "open-gop=1:keyint=12:min-keyint=12:log-level=none"},
    },
    "one-key-frame": {"gop": 250, "b_frames": 2},
    "late-start": {"start_s": Fraction(3, 2)},
    "vfr": {"frames": len(VFR), "pts": VFR, "time_base": Fraction(1, 1000), "gop": 5},
    "interlaced": {"interlaced": "tff", "gop": 6},
    "turned": {"rotation": 90},
    "wide-samples": {"sample_aspect": Fraction(4, 3)},
    "ten-bit": {"pix_fmt": "yuv420p10le", "size": (96, 64), "codec": "libx265"},
    "odd-sides": {"size": (67, 49), "pix_fmt": "yuv444p"},
    "mpeg4": {"codec": "mpeg4", "b_frames": 2},
    "mpeg2": {"codec": "mpeg2video", "b_frames": 2, "rate": Fraction(25)},
}  # fmt: skip


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("name", CLIPS)
def test_chunks_give_the_same_film(tmp_path: Path, tiny_model: Path, name: str) -> None:
    clip = {"frames": 48, "gop": 12} | CLIPS[name]
    source = make_clip(tmp_path / "in.mkv", **clip)
    whole, chunked = both(chunk_job(tiny_model), source, tmp_path)
    check_alike(tmp_path)
    assert chunked.facts["chunks"]["planned"] > 1
    assert chunked.frames_out == whole.frames_out == clip["frames"]
    for part in ("source", "timing", "streams", "notices", "model"):
        assert chunked.facts[part] == whole.facts[part], part


@pytest.mark.usefixtures("inline")
def test_everything_else_comes_once(tmp_path: Path, tiny_model: Path) -> None:
    source = make_clip(
        tmp_path / "in.mkv",
        frames=72,
        b_frames=2,
        audio=(AudioTrack(), AudioTrack(codec="flac")),
        subtitles=(SubtitleTrack(),),
        chapters=((0, 1, "one"), (1, 3, "two")),
        attachments=(("font.ttf", "font/ttf", b"font"),),
        metadata={"title": "A film"},
    )
    _, chunked = both(chunk_job(tiny_model), source, tmp_path)
    check_alike(tmp_path)
    assert [stream["fate"] for stream in chunked.facts["streams"]] == ["copied"] * 4


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("span", [{"start_s": 0.7}, {"duration_s": 1.3}, {"start_s": 0.3, "duration_s": 1.2}])
def test_a_range(tmp_path: Path, tiny_model: Path, span: dict[str, float]) -> None:
    source = make_clip(tmp_path / "in.mkv", frames=60, b_frames=2, gop=8, audio=(AudioTrack(),))
    both(chunk_job(tiny_model, **{f"source__{key}": value for key, value in span.items()}), source, tmp_path)
    check_alike(tmp_path)


ODD = {
    "odd/fate-interlaced_crop.mp4": 0.2,
    "odd/mb-edts.mp4": 0.4,
    "odd/fate-mov_neg_first_pts_discard.mov": 3,
    "odd/fate-packed_bframes.avi": 0.4,
    "odd/fate-displaymatrix.mov": 3,
    "odd/fate-vp80-00-comprehensive-014.ivf": 1,
    "odd/fate-vp90-2-05-resize.ivf": 3,
    "odd/fate-sample-in-issue-505.mp4": 0.4,
    "odd/realesrgan-tree_alpha_16bit.png": 1,
    "clips/fate-sintel-signbias.ivf": 0.4,
    "clips/nasa-270p-2v2a2s.mp4": 0.4,
    "broken/mb-no-initial-keyframe.ts": 3,
    "broken/videotest.mp4": 1,
}
"""Seconds of each."""


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("name", ODD)
def test_odd_files_give_the_same_film(tmp_path: Path, tiny_model: Path, media_dir: Path, name: str) -> None:
    cfg = chunk_job(tiny_model, source__duration_s=ODD[name], chunks__chunk_s=ODD[name] / 4)
    whole, chunked = both(cfg, media_dir / name, tmp_path)
    check_alike(tmp_path)
    for part in ("source", "timing", "streams"):
        assert chunked.facts[part] == whole.facts[part], part
