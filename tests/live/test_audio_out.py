"""Sound for targets that do not take the source's codec."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from streamsr.errors import SinkError
from streamsr.live.address import TargetKind
from streamsr.live_frames import AudioFormat, LiveAudio
from streamsr.media.audio_out import AudioOut, target_codec
from tests.live.sounds import LEVEL, heard, loudest_click, tone


def made_of(out: AudioOut, packets: list[LiveAudio]) -> list[LiveAudio]:
    return [made for packet in packets for made in out.put(packet)] + out.flush()


@pytest.mark.parametrize(
    ("kind", "source", "mode", "codec"),
    [
        ("rtsp", "aac", "copy", None),
        ("rtsp", "pcm_mulaw", "copy", None),
        ("rtsp", "mp2", "copy", "aac"),
        ("rtmp", "aac", "copy", None),
        ("rtmp", "opus", "copy", "aac"),
        ("rtmp", "pcm_mulaw", "copy", "aac"),
        ("udp", "mp2", "copy", None),
        ("srt", "ac3", "copy", None),
        ("srt", "pcm_alaw", "copy", "aac"),
        ("whip", "opus", "copy", None),
        ("whip", "aac", "copy", "opus"),
        ("whip", "opus", "transcode", "opus"),
        ("hls", "opus", "copy", None),
        ("hls", "mp2", "copy", "aac"),
        ("record", "pcm_mulaw", "copy", "aac"),
        ("record", "aac", "transcode", "aac"),
    ],
)
def test_target_codec(kind: TargetKind, source: str, mode: str, codec: str | None) -> None:
    assert target_codec(kind, AudioFormat(source, 48000, "stereo", 2), mode) == codec


def test_rates_and_channels_that_a_target_cannot_have() -> None:
    assert target_codec("rtmp", AudioFormat("mp3", 48000, "stereo", 2), "copy") == "aac"
    assert target_codec("rtmp", AudioFormat("mp3", 44100, "stereo", 2), "copy") is None
    assert target_codec("rtmp", AudioFormat("aac", 48000, "5.1", 6), "copy") == "aac"
    assert target_codec("whip", AudioFormat("opus", 48000, "5.1", 6), "copy") == "opus"


@pytest.mark.parametrize(
    ("source", "codec", "rate"),
    [
        (("aac", 48000, "stereo"), "opus", 48000),
        (("aac", 44100, "stereo"), "opus", 48000),
        (("opus", 48000, "stereo"), "aac", 48000),
        (("pcm_mulaw", 8000, "mono"), "aac", 8000),
        (("pcm_mulaw", 8000, "mono"), "opus", 48000),
        (("mp3", 44100, "stereo"), "aac", 44100),
        (("ac3", 48000, "5.1"), "aac", 48000),
        (("aac", 48000, "stereo"), "pcm_alaw", 48000),
        (("aac", 48000, "stereo"), "mp3", 48000),
    ],
)
def test_tone_arrives_in_time_and_as_loud(source: tuple[str, int, str], codec: str, rate: int) -> None:
    """A tone from 5.0 to 7.0 s: where its zero crossings are heard says when it sounds."""
    packets = tone(*source, seconds=2.0, start_s=5.0)
    out = AudioOut(packets[0].format, codec)
    assert (out.format.codec, out.format.rate) == (codec, rate)
    made = made_of(out, packets)
    assert all(early.time_s + early.duration_s <= late.time_s + 1e-6 for early, late in pairwise(made))
    assert made[0].time_s == pytest.approx(5.0, abs=0.2)
    samples = heard(made, out.format)
    piece = samples[round(0.7 * rate) : round(1.7 * rate)]
    assert float(np.std(piece)) == pytest.approx(LEVEL / 2**0.5, rel=0.1)
    at = made[0].time_s + 0.7 + np.arange(len(piece)) / rate
    phase = np.angle(np.sum(piece * np.exp(-2j * np.pi * 440 * at)) * 1j)
    late_s = -phase / (2 * np.pi * 440)  # within a period of 2.3 ms
    assert abs(late_s) < 0.001
    assert loudest_click(piece) < LEVEL


@pytest.mark.parametrize("drift", [1e-3, -1e-3])
def test_times_are_followed(drift: float) -> None:
    """As many samples come out as time passes, though the packets' times run otherwise than their samples."""
    packets = [replace(each, time_s=each.time_s * (1 + drift)) for each in tone("pcm_mulaw", 8000, "mono", 20.0)]
    out = AudioOut(packets[0].format, "aac")
    made = made_of(out, packets)
    end_s = made[-1].time_s + made[-1].duration_s
    assert end_s == pytest.approx(20 * (1 + drift), abs=0.01)
    samples = heard(made, out.format)
    assert len(samples) / 8000 == pytest.approx(end_s - made[0].time_s, abs=1024 / 8000), "the last packet is filled up"
    assert all(late.time_s - early.time_s == pytest.approx(1024 / 8000, abs=0.005) for early, late in pairwise(made))
    assert loudest_click(samples[4000:-4000]) < LEVEL


def test_gap_becomes_silence_and_what_came_before_is_cut() -> None:
    packets = tone(seconds=1.0) + tone(seconds=1.0, start_s=2.0) + tone(seconds=1.0, start_s=1.5)
    out = AudioOut(packets[0].format, "opus")
    made = made_of(out, packets)
    assert all(early.time_s + early.duration_s <= late.time_s + 1e-6 for early, late in pairwise(made))
    samples = heard(made, out.format)
    assert len(samples) / 48000 == pytest.approx(3.0, abs=0.15)
    assert np.abs(samples[round(1.2 * 48000) : round(1.8 * 48000)]).max() < 0.01
    assert float(np.std(samples[round(2.2 * 48000) : round(2.8 * 48000)])) == pytest.approx(LEVEL / 2**0.5, rel=0.1)


def test_broken_packets_are_passed_over() -> None:
    packets = tone("ac3", seconds=2.0)
    broken = [replace(each, data=b"\x00" * 40) if 20 <= at < 23 else each for at, each in enumerate(packets)]
    out = AudioOut(packets[0].format, "aac")
    made = made_of(out, broken)
    assert out.damaged == 3
    assert len(heard(made, out.format)) / 48000 == pytest.approx(2.0, abs=0.1)


def test_unknown_codec() -> None:
    with pytest.raises(SinkError, match=r"nothing.*--audio none"):
        AudioOut(AudioFormat("nothing", 48000, "stereo", 2), "aac")
    with pytest.raises(SinkError):
        AudioOut(AudioFormat("h264", 48000, "stereo", 2), "aac")


def test_publishers_do_not_get_torch() -> None:
    code = "import sys, streamsr.media.audio_out, streamsr.media.live_audio; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
