"""The number drawn into every picture, read back from the finished file: nothing lost, doubled, permuted or turned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipelines.upscale import upscale_file
from streamsr.report import Report
from tests.media import AudioTrack, Clip, SubtitleTrack, make_clip
from tests.pipelines.jobs import Ears, job, numbers_of


@dataclass(frozen=True, kw_only=True)
class Case:
    """A clip, the file names it goes from and to, changes to the job, and what must come out."""

    clip: Clip
    source: str = "in.mp4"
    target: str = "out.mp4"
    changes: dict[str, Any] = field(default_factory=dict)
    numbers: range | None = None
    size: tuple[int, int] = (64, 48)
    pix_fmt: str = "yuv420p"
    stored: Callable[[np.ndarray], np.ndarray] = field(default=lambda luma: luma)
    """Undoes the turn: the number is drawn into the stored picture."""


SOUND = (AudioTrack(),)
ADTS_HEADER = 7
"""Bytes before every AAC packet of a transport stream, which other containers keep once, in their own header."""
CASES = {
    "plain": Case(clip=Clip(frames=24, audio=SOUND)),
    "twice as large": Case(clip=Clip(), changes={"upscale__scale": 2}, size=(128, 96)),
    "a size between": Case(clip=Clip(), changes={"upscale__scale": 1.5}, size=(96, 72)),
    "larger than the network": Case(clip=Clip(frames=5), changes={"upscale__scale": 3}, size=(192, 144)),
    "into a box": Case(clip=Clip(), changes={"upscale__scale": None, "upscale__to": "100x100"}, size=(100, 76)),
    "tiled": Case(clip=Clip(), changes={"upscale__tile": 32, "upscale__batch": 5}),
    "batch of seven": Case(clip=Clip(frames=24), changes={"upscale__batch": 7}),
    "one picture": Case(clip=Clip(frames=1)),
    "two pictures": Case(clip=Clip(frames=2, audio=SOUND)),
    "b-frames": Case(clip=Clip(frames=30, b_frames=3, audio=SOUND), target="out.mkv"),
    "b-frames in a ts": Case(clip=Clip(frames=30, b_frames=3, audio=SOUND), source="in.ts", target="out.mkv"),
    "variable rate": Case(
        clip=Clip(frames=9, time_base=Fraction(1, 600), pts=(0, 25, 30, 31, 100, 125, 400, 410, 435)),
        changes={"upscale__scale": 2},
        size=(128, 96),
    ),
    "variable rate, mkv": Case(
        clip=Clip(frames=9, time_base=Fraction(1, 1000), pts=(0, 25, 30, 31, 100, 125, 400, 410, 435), audio=SOUND),
        source="in.mkv",
        target="out.mkv",
    ),
    "odd size": Case(
        clip=Clip(size=(67, 45), pix_fmt="yuv444p"),
        changes={"upscale__scale": 2},
        size=(134, 90),
        pix_fmt="yuv444p",
    ),
    "odd size, mpeg4": Case(clip=Clip(size=(67, 45), codec="mpeg4"), source="in.avi", target="out.mkv", size=(68, 44)),
    "odd size doubled": Case(
        clip=Clip(size=(67, 45), codec="mpeg4"), changes={"upscale__scale": 2}, size=(134, 90), source="in.avi"
    ),
    "10 bit": Case(
        clip=Clip(codec="libx265", pix_fmt="yuv420p10le"), changes={"upscale__scale": 2}, size=(128, 96),
        pix_fmt="yuv420p10le",
    ),
    "4:2:2 10 bit": Case(clip=Clip(pix_fmt="yuv422p10le"), pix_fmt="yuv422p10le"),
    "full range": Case(
        clip=Clip(pix_fmt="yuvj420p", full_range=True, codec="mjpeg"), source="in.avi", pix_fmt="yuvj420p"
    ),
    "gbrp": Case(clip=Clip(codec="utvideo", pix_fmt="gbrp"), source="in.avi"),
    "rotated": Case(clip=Clip(rotation=-90, size=(48, 64), frames=7), stored=lambda luma: np.rot90(luma)),
    "upside down": Case(clip=Clip(rotation=180), stored=lambda luma: luma[::-1, ::-1]),
    "mirrored": Case(clip=Clip(hflip=True), stored=lambda luma: luma[:, ::-1]),
    "interlaced": Case(clip=Clip(interlaced="tff", frames=15, audio=SOUND)),
    "audio longer": Case(clip=Clip(frames=6, audio=(AudioTrack(seconds=2.0),))),
    "audio shorter": Case(clip=Clip(frames=36, audio=(AudioTrack(seconds=0.3),))),
    "two audio tracks": Case(
        clip=Clip(audio=(AudioTrack(language="deu"), AudioTrack(codec="flac", language="eng"))),
        source="in.mkv",
        target="out.mkv",
    ),
    "picture late": Case(clip=Clip(frames=12, start_s=Fraction(1, 2), audio=(AudioTrack(seconds=1.0),))),
    "sound late": Case(clip=Clip(frames=12, audio=(AudioTrack(start_s=0.25, seconds=0.3),))),
    "negative start": Case(clip=Clip(start_s=Fraction(-1, 4), audio=SOUND), source="in.nut", target="out.mkv"),
    "a start": Case(clip=Clip(frames=48, audio=SOUND), changes={"source__start_s": 1.0}, numbers=range(24, 48)),
    "a duration": Case(
        clip=Clip(frames=48, audio=SOUND, b_frames=2), changes={"source__duration_s": 0.5}, numbers=range(12)
    ),
    "a range": Case(
        clip=Clip(frames=72, gop=48, b_frames=2, audio=SOUND, subtitles=(SubtitleTrack(),)),
        changes={"source__start_s": 0.75, "source__duration_s": 1.0},
        source="in.mkv",
        target="out.mkv",
        numbers=range(18, 42),
    ),
    "into webm": Case(
        clip=Clip(audio=(AudioTrack(codec="libopus"),)), source="in.mkv", target="out.webm",
        changes={"encode__preset": "auto"},
    ),
    "av1": Case(clip=Clip(), changes={"encode__codec": "av1", "encode__preset": "auto"}, target="out.mkv"),
    "hevc": Case(clip=Clip(), changes={"encode__codec": "hevc"}),
    "ffv1": Case(clip=Clip(), changes={"encode__codec": "ffv1", "encode__preset": "auto"}, target="out.mkv"),
    "prores": Case(
        clip=Clip(), changes={"encode__codec": "prores", "encode__preset": "auto"}, target="out.mov",
        pix_fmt="yuv422p10le",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_picture_arrives(tmp_path: Path, tiny_model: Path, name: str) -> None:
    case = CASES[name]
    source = make_clip(tmp_path / case.source, case.clip)
    target = tmp_path / case.target
    changes = {"encode__preset": "ultrafast"} | case.changes
    ears = Ears()
    report = upscale_file(job(tiny_model, **changes), source, target, ears)

    wanted = list(case.numbers or range(case.clip.frames))
    assert numbers_of(target, case.stored) == wanted
    with av.open(str(target)) as container:
        context = container.streams.video[0].codec_context
        assert (context.width, context.height, context.pix_fmt) == (*case.size, case.pix_fmt)
    shift_s = report.facts["timing"]["container_shift_s"]
    times = [time + shift_s for time in wanted_times(source, case)]
    assert times_of(target) == pytest.approx(times, abs=0.5e-3)
    check_sound(source, target, report, case)
    check_report(report, target, len(wanted))
    assert ears.reports == [report]
    assert ears.progresses[-1].frames == len(wanted)
    assert sorted(tmp_path.iterdir()) == sorted([source, target])


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float((frame.pts or 0) * (frame.time_base or 0)) for frame in container.decode(video=0)]


def wanted_times(source: Path, case: Case) -> list[float]:
    """The times of the source, counted from where the range begins, or where the file does if that is not at zero."""
    times = times_of(source)
    start_s = case.changes.get("source__start_s", 0.0)
    end_s = start_s + case.changes.get("source__duration_s", 1000.0)
    first = times[0] if source.suffix == ".ts" or times[0] < 0 else 0.0
    if source.suffix == ".ts" or times[0] < 0:
        with av.open(str(source)) as container:
            assert container.start_time is not None
            first = container.start_time / 1e6
    return [time - first - start_s for time in times if start_s <= time - first + 1e-6 < end_s]


def check_sound(source: Path, target: Path, report: Report, case: Case) -> None:
    """Copied packets are the same bytes, or a run of them where a range was cut out."""
    fates = [fate for fate in report.facts["streams"] if fate["kind"] == "audio"]
    assert [fate["fate"] for fate in fates] == ["copied"] * len(case.clip.audio)
    for track in range(len(case.clip.audio)):
        before, after = packets_of(source, track), packets_of(target, track)
        if source.suffix == ".ts":
            before = [packet[ADTS_HEADER:] for packet in before]
        assert after
        assert fates[track]["packets"] == len(after)
        if case.numbers is None:
            assert after == before
        else:
            place = before.index(after[0])
            assert after == before[place : place + len(after)]
    assert abs(report.facts["timing"]["av_offset_error_s"]) <= 0.002


def packets_of(path: Path, track: int) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=track) if packet.size]


def check_report(report: Report, target: Path, num_frames: int) -> None:
    facts = report.facts
    assert report.frames_in == report.frames_out == num_frames
    assert facts["source"]["frames"] == facts["output"]["frames"] == num_frames
    assert facts["output"]["bytes"] == target.stat().st_size
    assert facts["timing"]["largest_deviation_s"] <= facts["timing"]["container_tick_s"] / 2
    if target.suffix == ".mp4":
        assert facts["timing"]["timestamps_identical"]
    assert not facts["timing"]["stopped_early"]
    assert facts["speed"]["stages"]["decode"]["items"] == num_frames
    assert facts["speed"]["peak_memory_bytes"] > 0
    assert facts["source"]["damage"]["bad_packets"] == 0


def test_what_is_found_out_late_is_told_once(tmp_path: Path, tiny_model: Path) -> None:
    source = make_clip(tmp_path / "in.ts", Clip(frames=30, gop=5))
    data = bytearray(source.read_bytes())
    middle = len(data) // 2 // 188 * 188
    data[middle : middle + 188 * 4] = bytes(188 * 4)
    source.write_bytes(data)
    ears = Ears()
    report = upscale_file(job(tiny_model), source, tmp_path / "out.mkv", ears)
    late = [line for line in ears.notices if "damage" in line]
    assert len(late) == 1
    assert late[0] in report.facts["notices"]
