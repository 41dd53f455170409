"""Real clips into every container that can hold them: counts, times, sound and text, judged by ffmpeg as well."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.media_sink.feed import complaints, feed_of, payloads, times

CLIPS = {
    "clips/bbb-1080p24-hevc-aac51.ts": ".mp4 .mkv .mov .ts",
    "clips/bbb-1080p24-rot90.mp4": ".mp4 .mkv",
    "clips/bbb-720p24-vp8-vorbis-30s.webm": ".mkv .webm",
    "clips/bbb-720p25-h264-aac51.mp4": ".mp4 .mkv .mov .ts",
    "clips/bbb-800x640-sar64_45-h264.mp4": ".mp4 .mkv .ts",
    "clips/flower-540p-h264-aac.mp4": ".mp4 .mkv .mov .ts",
    "clips/friday-480p-bw-film.mp4": ".mp4 .mkv",
    "clips/nasa-270p-2v2a2s.mp4": ".mp4 .mkv .mov .ts",
    "clips/sintel-5s.mp4": ".mp4 .mkv .mov .ts",
    "odd/fate-242_4.mkv": ".mp4 .mkv .mov",
    "odd/fate-amve.mp4": ".mp4 .mkv",
    "odd/fate-anim.mkv": ".mp4 .mkv .mov",
    "odd/fate-empty_edit_5s.mp4": ".mp4 .mkv",
    "odd/fate-sample-in-issue-505.mp4": ".mp4 .mkv .ts",
    "odd/fate-test-4867.flv": ".mp4 .mkv",
    "odd/mb-edts.mp4": ".mp4 .mkv .mov",
}
SLOW_TO_DECODE = ("1080p", "flv")
DAMAGED = ("fate-242_4", "fate-empty_edit", "fate-test-4867")
"""The pictures of these do not decode without a word in the source either."""


@pytest.mark.parametrize(("name", "suffix"), [(name, suffix) for name in CLIPS for suffix in CLIPS[name].split()])
def test_real_clip(tmp_path: Path, name: str, suffix: str) -> None:
    if "STREAMSR_MEDIA" not in os.environ:
        pytest.skip("set STREAMSR_MEDIA to the folder of real clips")
    source = Path(os.environ["STREAMSR_MEDIA"]) / name
    target = tmp_path / f"out{suffix}"
    feed = feed_of(source)
    with av.open(str(source)) as container:
        start = Fraction(container.start_time or 0, 1_000_000) if source.suffix == ".ts" else Fraction(0)
    sink = feed.into(target, origin=start)
    verdict = sink.verdict
    assert verdict is not None
    assert verdict.pictures == len(feed.packets)
    assert verdict.worst_stamp_s <= verdict.tick_s / 2
    assert verdict.sync_error_s <= 0.002
    assert verdict.remarks == ()
    if suffix in (".mp4", ".mov"):
        shift = round(start / feed.info.time_base)
        assert times(target, 0) == [(packet.pts - shift) * packet.time_base for packet in feed.packets]
    sounds = [fate for fate in sink.streams if fate.kind == "audio"]
    assert sounds or not payloads_exist(source)
    for track, fate in enumerate(sounds):
        if fate.fate == "copied":
            assert payloads(source, track=track) == payloads(target, track=track)
    if not any(mark in name for mark in (*SLOW_TO_DECODE, *DAMAGED)):
        assert complaints(target) == ""


def payloads_exist(source: Path) -> bool:
    with av.open(str(source)) as container:
        return bool(container.streams.audio)
