"""The carrier of a live stream's sound: without a hole, without overlap, in one format, at the right time."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsr.live.stats import Counters
from streamsr.live_frames import AudioFormat, LiveAudio
from streamsr.media.adts import low_complexity
from streamsr.media.audio_out import decoder_of
from streamsr.media.live_audio import AudioLane, carrier_of, silence
from tests.live.sounds import LEVEL, heard, loudest_click, tone

CODECS = [
    ("aac", 48000, "stereo"),
    ("aac", 16000, "mono"),
    ("opus", 48000, "stereo"),
    ("mp3", 44100, "stereo"),
    ("mp2", 48000, "stereo"),
    ("ac3", 48000, "stereo"),
    ("pcm_mulaw", 8000, "mono"),
    ("pcm_alaw", 8000, "mono"),
    ("pcm_s16be", 48000, "stereo"),
]


def played(lane: AudioLane, packets: list[LiveAudio]) -> list[LiveAudio]:
    return [made for packet in packets if packet.time_s >= 0 for made in lane.put(packet)]


def is_continuous(packets: list[LiveAudio]) -> bool:
    ends = [packet.time_s + packet.duration_s for packet in packets]
    return packets[0].time_s == 0 and all(
        abs(end - later.time_s) < 1e-9 for end, later in zip(ends, packets[1:], strict=False)
    )


@pytest.mark.parametrize(("codec", "rate", "layout"), CODECS)
def test_begins_late_stops_and_begins_again(codec: str, rate: int, layout: str) -> None:
    """Silence for 1 s, sound for 1 s, silence for 1 s of which the pacer gave a part, sound for 1 s."""
    counters = Counters()
    first = tone(codec, rate, layout, 1.0, start_s=1.0)
    carrier = carrier_of(first[0].format)
    lane = AudioLane(carrier, counters)
    made = lane.fill(0.5)
    made += played(lane, first)
    made += lane.fill(2.6)
    made += played(lane, tone(codec, rate, layout, 1.0, start_s=3.0))
    assert is_continuous(made)
    assert {packet.format for packet in made} == {carrier}
    assert counters["audio_silence"] >= 1.9 / silence(carrier).duration_s
    assert counters["audio_transcoded"] == 0

    samples = heard(made, carrier)
    length_s = made[-1].time_s + made[-1].duration_s
    assert abs(len(samples) / rate - length_s) < 0.05
    assert loudest_click(samples) < LEVEL
    assert np.abs(samples).max() < 2 * LEVEL
    for begin_s, end_s, is_loud in ((0.1, 0.8, False), (1.2, 1.8, True), (2.2, 2.8, False), (3.2, 3.8, True)):
        piece = samples[round(begin_s * rate) : round(end_s * rate)]
        level = float(np.sqrt(np.mean(piece.astype(np.float64) ** 2)))
        assert level == pytest.approx(LEVEL / 2**0.5, rel=0.1) if is_loud else level < 0.01, (begin_s, level)


@pytest.mark.parametrize(("codec", "rate", "layout"), CODECS)
def test_unbroken_sound_passes_untouched(codec: str, rate: int, layout: str) -> None:
    packets = [each for each in tone(codec, rate, layout, 1.0) if each.time_s >= 0]
    lane = AudioLane(carrier_of(packets[0].format), Counters())
    made = played(lane, packets)
    begun = len(made) - len(packets)  # an encoder's first packet may begin a part of a packet after 0
    assert [packet.data for packet in made[begun:]] == [packet.data for packet in packets]
    errors = [abs(was.time_s - now.time_s) for was, now in zip(packets, made[begun:], strict=True)]
    assert max(errors) < 0.75 * made[0].duration_s
    assert is_continuous(made)


def test_another_format_goes_on_in_the_carrier() -> None:
    """AAC 48 kHz stereo, then a camera that comes back with mu-law 8 kHz mono, then the first one again."""
    counters = Counters()
    first = tone(seconds=1.0)
    carrier = carrier_of(first[0].format)
    lane = AudioLane(carrier, counters)
    made = played(lane, first)
    made += played(lane, tone("pcm_mulaw", 8000, "mono", 1.0, start_s=1.5))
    made += played(lane, tone(seconds=1.0, start_s=3.0))
    assert is_continuous(made)
    assert {packet.format for packet in made} == {carrier}
    assert counters["audio_transcoded"] > 40
    samples = heard(made, carrier)
    assert abs(len(samples) / 48000 - made[-1].time_s - made[-1].duration_s) < 0.05
    assert loudest_click(samples) < LEVEL
    for begin_s, end_s, level in (
        (0.2, 0.9, LEVEL),
        (1.15, 1.4, 0),
        (1.7, 2.3, LEVEL),
        (2.65, 2.9, 0),
        (3.2, 3.9, LEVEL),
    ):
        piece = samples[round(begin_s * 48000) : round(end_s * 48000)]
        assert float(np.std(piece)) == pytest.approx(level / 2**0.5, rel=0.1, abs=0.01), begin_s


@pytest.mark.parametrize(
    ("source", "codec", "rate", "channels"),
    [
        (AudioFormat("opus", 48000, "stereo", 2, 960), "opus", 48000, 2),
        (AudioFormat("pcm_mulaw", 8000, "mono", 1), "pcm_mulaw", 8000, 1),
        (AudioFormat("adpcm_g722", 16000, "mono", 1), "aac", 16000, 1),
        (AudioFormat("vorbis", 44100, "stereo", 2), "aac", 44100, 2),
        (AudioFormat("flac", 96000, "5.1", 6), "aac", 48000, 2),
        (AudioFormat("aac", 48000, "5.1", 6, 1024), "aac", 48000, 6),
        (AudioFormat("aac", 48000, "7.1", 8, 1024), "aac", 48000, 2),
        (AudioFormat("aac_latm", 48000, "stereo", 2, 1024), "aac", 48000, 2),
        (AudioFormat("aac", 48000, "stereo", 2, 2048), "aac", 48000, 2),  # HE-AAC
        (AudioFormat("aac", 48000, "stereo", 2, 0, low_complexity(24000, 2)), "aac", 48000, 2),  # HE-AAC
        (AudioFormat("ac3", 48000, "5.1(side)", 6, 1536), "ac3", 48000, 6),
    ],
)
def test_carrier(source: AudioFormat, codec: str, rate: int, channels: int) -> None:
    carrier = carrier_of(source)
    assert (carrier.codec, carrier.rate, carrier.channels) == (codec, rate, channels)
    assert carrier.extradata or codec not in ("aac", "opus"), "muxers ask for it"
    silent = silence(carrier)
    packets = [
        LiveAudio(silent.data, carrier, number * silent.duration_s, silent.duration_s, 0.0) for number in range(9)
    ]
    samples = heard(packets, carrier)
    assert len(samples) == pytest.approx(9 * silent.duration_s * rate, rel=0.15)
    assert np.abs(samples).max() < 0.001


def test_he_aac_is_made_anew() -> None:
    """Told by its header only: the packets of a 24 kHz core must not be put between those of plain 48 kHz."""
    core = tone("aac", 24000, "stereo", 1.0)
    he = replace(core[0].format, rate=48000, extradata=low_complexity(24000, 2))
    carrier = carrier_of(he)
    lane = AudioLane(carrier, Counters())
    made = played(lane, [replace(packet, format=he) for packet in core])
    assert is_continuous(made)
    assert all(packet.duration_s == pytest.approx(1024 / 48000, rel=0.02) for packet in made)
    assert made[-1].time_s > 0.8
    assert np.std(heard(made, carrier)[24000:36000]) == pytest.approx(LEVEL / 2**0.5, rel=0.1)


def test_adts_headers_are_taken_off() -> None:
    packets = [each for each in tone(seconds=0.5) if each.time_s >= 0]
    bare = replace(packets[0].format, extradata=b"")
    lane = AudioLane(carrier_of(bare), Counters())
    made = played(lane, [replace(packet, format=bare, data=_adts(packet.data)) for packet in packets])
    assert [packet.data for packet in made] == [packet.data for packet in packets]
    assert decoder_of(made[0].format).extradata == low_complexity(48000, 2)


def test_lost_packets_and_jitter_keep_the_time() -> None:
    """One packet of twenty is lost, and times come rounded to 10 ms."""
    chance = random.Random(1)
    lane = AudioLane(carrier_of(tone(seconds=0.1)[0].format), Counters())
    source = [each for each in tone(seconds=20.0) if each.time_s >= 0 and chance.random() > 0.05]
    made, errors = [], []
    for packet in source:
        ready = lane.put(replace(packet, time_s=round(packet.time_s, 2)))
        made += ready
        errors += [ready[-1].time_s - packet.time_s] if ready else []
    assert is_continuous(made)
    assert max(map(abs, errors)) < 0.040
    assert len(errors) > 0.97 * len(source)


def test_sound_after_silence_in_its_place_is_soon_in_time() -> None:
    """The pacer has filled up to where the source, which was only late, goes on half a second earlier."""
    lane = AudioLane(AAC[0].format, Counters())
    lane.fill(2.01)
    made = [(packet, lane.put(packet)) for packet in tone(seconds=2.0, start_s=1.5)]
    errors = [ready[-1].time_s - packet.time_s for packet, ready in made if ready]
    assert max(map(abs, errors)) < 0.6 * 1024 / 48000
    assert abs(errors[-1]) < 0.002


def test_stated_durations_are_rounded() -> None:
    """FLV says 21 ms of what lasts 21.3."""
    counters = Counters()
    lane = AudioLane(AAC[0].format, counters)
    packets = [each for each in tone(seconds=10.0) if each.time_s >= 0]
    made = played(lane, [replace(each, time_s=round(each.time_s, 3), duration_s=0.021) for each in packets])
    assert len(made) == len(packets)
    assert counters["audio_silence"] == 0


def test_what_cannot_be_decoded_is_silence() -> None:
    lane = AudioLane(AAC[0].format, Counters())
    unknown = AudioFormat("nothing", 48000, "stereo", 2)
    assert lane.put(LiveAudio(b"sound", unknown, 0.0, 0.02, 0.0)) == []
    broken = replace(MULAW[0].format, codec="ac3", rate=48000)
    assert lane.put(LiveAudio(b"sound", broken, 0.0, 0.02, 0.0)) == []
    assert len(lane.fill(1.0)) == 46


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_another_clock_is_followed_without_a_break(drift: float) -> None:
    counters = Counters()
    packets = [each for each in tone("pcm_mulaw", 8000, "mono", 1.0) if each.time_s >= 0]
    lane = AudioLane(packets[0].format, counters)
    made = []
    for number in range(50 * 3600):
        packet = replace(packets[0], time_s=number * 0.02 * (1 + drift))
        made += (ready := lane.put(packet))
        assert len(ready) == 1
        assert abs(ready[0].time_s - packet.time_s) < 0.005
    assert counters["audio_silence"] == 0
    assert is_continuous(made)


def test_a_long_stop_of_the_program_is_not_made_up_for() -> None:
    packet = tone(seconds=0.1)[0]
    lane = AudioLane(packet.format, Counters())
    made = lane.fill(3600.0)
    assert made[0].time_s > 3500
    assert made[-1].time_s > 3599.9


@given(
    st.lists(st.tuples(st.sampled_from(["put", "fill", "other"]), st.floats(-1, 3), st.integers(1, 40)), max_size=25)
)
@settings(max_examples=40)
def test_whatever_comes_no_hole_and_no_overlap(steps: list[tuple[str, float, int]]) -> None:
    """Sound that begins anywhere, earlier than the end so far too, for some packets each time."""
    lane = AudioLane(AAC[0].format, Counters())
    made: list[LiveAudio] = []
    at = 0.0
    for kind, jump_s, num in steps:
        at = max(at + jump_s, 0.0)
        if kind == "fill":
            made += lane.fill(at)
            continue
        for packet in (MULAW if kind == "other" else AAC)[:num]:
            made += lane.put(replace(packet, time_s=at))
            at += packet.duration_s
    assert all(abs(early.time_s + early.duration_s - late.time_s) < 1e-9 for early, late in pairwise(made))
    assert all(packet.duration_s > 0 for packet in made)
    assert not made or made[0].time_s == 0


AAC = [each for each in tone(seconds=1.0) if each.time_s >= 0]
MULAW = tone("pcm_mulaw", 8000, "mono", 1.0)


def _adts(frame: bytes) -> bytes:
    """48 kHz stereo AAC-LC, without a check sum."""
    length = len(frame) + 7
    head = bytes(
        [0xFF, 0xF1, 1 << 6 | 3 << 2, 2 << 6 | length >> 11, length >> 3 & 0xFF, (length & 7) << 5 | 0x1F, 0xFC]
    )
    return head + frame
