"""The finished file, read back: every picture is there, at its time, and so is everything else."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Stream

from streamsr.errors import FrameMismatch
from streamsr.runtime.meters import pulse

READ_TIMEOUT_S = 60.0
SYNC_SLACK_S = 0.05
"""A track that starts off by more than this is a failure; viewers notice from about 0.045 s on (ITU-R BT.1359)."""


@dataclass(frozen=True, slots=True)
class ExpectedTrack:
    """A stream of the output besides the video: its index, a name for messages, and the time of its first packet."""

    index: int
    name: str
    packets: int
    first_s: Fraction | None


@dataclass(slots=True)
class Expectation:
    """What was given to the muxer. `pts`: the pictures in decode order, in ticks of `time_base`; `end`: in seconds."""

    time_base: Fraction
    pts: array[int] = field(default_factory=lambda: array("q"))
    end: Fraction = Fraction(0)
    others: Sequence[ExpectedTrack] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the file holds. `worst_stamp_s`: the largest deviation of a picture's time, at most half a tick of the
    container (`tick_s`); `shift_s`: by how much the container moved everything, so that nothing is negative;
    `sync_error_s`: how far the first packet of another track is off against the picture, worst case."""

    pictures: int
    duration_s: float
    tick_s: float
    worst_stamp_s: float
    shift_s: float
    sync_error_s: float
    identical_stamps: bool
    remarks: tuple[str, ...] = ()


def verify(target: Path, expected: Expectation) -> Verdict:
    """Reads all packets of `target`, decoding none. Raises FrameMismatch if pictures are lost, doubled, out of order
    or off their time by more than half a tick, if a stream is missing, or if one is out of step with the picture."""
    with av.open(str(target), timeout=READ_TIMEOUT_S, metadata_errors="replace") as written:
        return _compare(written, expected)


def _compare(written: InputContainer, expected: Expectation) -> Verdict:
    video = written.streams[0]
    tick = video.time_base
    assert tick is not None
    first = _FirstPackets()
    shift: int | None = None  # in ticks
    worst, seen = Fraction(0), 0
    for packet in written.demux():
        if packet.pts is None or not packet.size:
            continue
        first.note(packet)
        pulse()
        if packet.stream_index != video.index:
            continue
        if seen < len(expected.pts):
            wanted = expected.pts[seen] * expected.time_base
            if shift is None:
                shift = _shift(written, packet.pts, wanted, tick)
            off = abs((packet.pts - shift) * tick - wanted)
            worst = max(worst, off)
            if off > tick / 2:
                raise _mismatch(f"picture {seen} is {float(off):.4f} s off its time in the written file", seen)
        seen += 1
    if seen != len(expected.pts):
        raise _mismatch(f"{len(expected.pts)} pictures were written, {seen} are in the file", seen)
    return Verdict(
        pictures=seen,
        duration_s=(written.duration or 0) / av.time_base,
        tick_s=float(tick),
        worst_stamp_s=float(worst),
        shift_s=float((shift or 0) * tick),
        sync_error_s=float(_sync_error(first, expected.others, (shift or 0) * tick)),
        identical_stamps=worst == 0,
        remarks=tuple(_lost_packets(first, expected.others, list(written.streams))),
    )


class _FirstPackets:
    """By stream index: how many packets, and the time of the earliest."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.times: dict[int, Fraction] = {}

    def note(self, packet: av.Packet[Stream]) -> None:
        index = packet.stream_index
        if index not in self.times and packet.pts is not None:
            self.times[index] = packet.pts * packet.time_base
        self.counts[index] = self.counts.get(index, 0) + 1


def _shift(written: InputContainer, pts: int, wanted: Fraction, tick: Fraction) -> int:
    """By how many ticks the container moved everything: only MP4 and MOV have times below zero."""
    if "mp4" in written.format.name:
        return 0
    return max(round(pts - wanted / tick), 0)


def _sync_error(first: _FirstPackets, others: Sequence[ExpectedTrack], shift_s: Fraction) -> Fraction:
    worst = Fraction(0)
    for track in others:
        if track.index not in first.times:
            raise _mismatch(f"{track.name} is missing in the written file")
        if track.first_s is None:
            continue
        off = abs(first.times[track.index] - shift_s - track.first_s)
        if off > SYNC_SLACK_S:
            raise _mismatch(f"{track.name} starts {float(off):.3f} s off in the written file")
        worst = max(worst, off)
    return worst


def _lost_packets(first: _FirstPackets, others: Sequence[ExpectedTrack], streams: Sequence[Stream]) -> list[str]:
    """A reader of MP4 groups PCM samples as it likes and finds blanks between subtitles: only audio frames count."""
    return [
        f"{track.name}: {track.packets} packets were written, {first.counts[track.index]} are in the file"
        for track in others
        if first.counts[track.index] < track.packets and not streams[track.index].codec_context.name.startswith("pcm")
    ]


def _mismatch(what: str, index: int | None = None) -> FrameMismatch:
    remedy = "The file was not kept. Please report this, with the source's format."
    return FrameMismatch(what, stage="mux", index=index, remedy=remedy)
