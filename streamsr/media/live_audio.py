"""The sound of a live stream on its way: one format for ever, without a hole, whatever the source does."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from av.audio.frame import AudioFrame

from streamsr.errors import SinkError
from streamsr.live.stats import Counters
from streamsr.live_frames import AudioFormat, LiveAudio
from streamsr.media.adts import bare, low_complexity, rate_and_channels
from streamsr.media.audio_out import AudioOut, encoder_of, format_of, rate_for

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
_MOST_CHANNELS = {"aac": 6, "ac3": 6, "eac3": 6, "opus": 2, "mp3": 2, "mp2": 2}
"""Codecs whose packets stand for themselves, so that silence may come between any two; PCM besides."""
_PCM = frozenset({"pcm_mulaw", "pcm_alaw", "pcm_s16le", "pcm_s16be"})
_PCM_PACKET_S = 0.02
_GAP = 0.5
"""Of a packet's length: what is missing or too much by more is a gap or an overlap, by less it is smoothed away."""
_MOST_JITTER_S = 0.1
_SMOOTH = 0.05
_STRETCH = 0.02
"""Of its length, by which a packet's time may be changed to follow the source."""
_LONGEST_FILL_S = 60.0
_NEW_CONVERTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Silence:
    """One packet of silence. `block`: bytes of one sample of all channels where a packet may be cut, otherwise 0."""

    data: bytes = field(repr=False)
    duration_s: float
    block: int = 0


class AudioLane:
    """Makes the carrier. Not thread-safe. What it returns follows without gap or overlap from 0 on: a packet's
    `time_s + duration_s` is the next one's `time_s`; only after more than a minute of nothing there may be a hole."""

    def __init__(self, carrier: AudioFormat, counters: Counters) -> None:
        self._carrier, self._counters = carrier, counters
        self._silence = silence(carrier)
        self._end_s = 0.0
        self._error_s = self._jitter_s = 0.0  # of the source's times: against the carrier's, and in themselves
        self._source_end_s: float | None = None
        self._judged: AudioFormat | None = None
        self._passes = False
        self._converter: AudioOut | None = None
        self._can_convert = True
        self._converted_to_s = 0.0

    def put(self, packet: LiveAudio) -> list[LiveAudio]:
        """Packets of the carrier for `packet`, with silence before it where something is missing. What is there
        already, as silence had to be put in its place, is left out, and so is what cannot be decoded."""
        if packet.format != self._judged:
            self._judged, self._converter, self._can_convert = packet.format, None, True
            self._passes = _is_same(packet.format, self._carrier)
        data = _without_adts(packet, self._carrier) if self._passes else None
        if data is not None:
            return self._place(data, packet)
        made = [placed for ready in self._convert(packet) for placed in self._place(ready.data, ready)]
        self._counters.add("audio_transcoded", len(made))
        return made

    def fill(self, until_s: float) -> list[LiveAudio]:
        """Silence as far as whole packets of it reach before `until_s`."""
        self._skip(until_s)
        made = []
        while self._end_s + self._silence.duration_s <= until_s:
            made.append(self._next(self._silence.data, self._silence.duration_s, time.monotonic()))
        self._counters.add("audio_silence", len(made))
        return made

    def _convert(self, packet: LiveAudio) -> list[LiveAudio]:
        carrier = self._carrier
        if abs(packet.time_s - self._converted_to_s) > _NEW_CONVERTER_S:
            self._converter = None
        if self._converter is None and self._can_convert:
            try:
                self._converter = AudioOut(packet.format, carrier.codec, carrier.rate, _LAYOUTS[carrier.channels])
            except SinkError:
                self._can_convert = False
        self._converted_to_s = packet.time_s + packet.duration_s
        return [] if self._converter is None else self._converter.put(packet)

    def _place(self, data: bytes, packet: LiveAudio) -> list[LiveAudio]:
        duration_s = self._length_s(data, packet.duration_s)
        if self._source_end_s is not None:
            uneven_s = min(abs(packet.time_s - self._source_end_s), _MOST_JITTER_S)
            self._jitter_s += _SMOOTH * (uneven_s - self._jitter_s)
        self._source_end_s = packet.time_s + duration_s
        least_s = _GAP * duration_s
        slack_s = max(least_s, min(4 * self._jitter_s, _MOST_JITTER_S))
        error_s = packet.time_s - self._end_s
        self._error_s += _SMOOTH * (error_s - self._error_s)
        if error_s < -slack_s or self._error_s < -least_s:
            self._error_s = 0.0
            return []
        made: list[LiveAudio] = []
        if error_s > slack_s or (self._error_s > least_s and error_s > 0):
            made = self._silence_to(packet.time_s)
            error_s, self._error_s = packet.time_s - self._end_s, 0.0
        pull_s = min(max(0.1 * error_s, -_STRETCH * duration_s), _STRETCH * duration_s)
        return [*made, self._next(data, duration_s + pull_s, packet.arrived_s)]

    def _length_s(self, data: bytes, stated_s: float) -> float:
        """Containers round durations; most codecs know better."""
        carrier, silent = self._carrier, self._silence
        if silent.block:
            return len(data) / silent.block / carrier.rate
        if carrier.frame_samples and carrier.codec != "opus":
            return carrier.frame_samples / carrier.rate
        return stated_s if stated_s > 0 else silent.duration_s

    def _silence_to(self, time_s: float) -> list[LiveAudio]:
        """Silence that ends at `time_s`: its packets are a little longer or shorter where they cannot be cut."""
        self._skip(time_s)
        silent, now_s = self._silence, time.monotonic()
        made = []
        if silent.block:
            while num := round(min(time_s - self._end_s, silent.duration_s) * self._carrier.rate):
                made.append(self._next(silent.data[: num * silent.block], num / self._carrier.rate, now_s))
        else:
            gap_s = time_s - self._end_s
            num = round(gap_s / silent.duration_s)
            made = [self._next(silent.data, gap_s / num, now_s) for _ in range(num)]
        self._counters.add("audio_silence", len(made))
        return made

    def _skip(self, until_s: float) -> None:
        """After a long stop of the whole program there is no use in sending all that time as silence."""
        if until_s - self._end_s > _LONGEST_FILL_S:
            self._end_s = until_s - _LONGEST_FILL_S

    def _next(self, data: bytes, duration_s: float, arrived_s: float) -> LiveAudio:
        packet = LiveAudio(data, self._carrier, self._end_s, duration_s, arrived_s)
        self._end_s += duration_s
        return packet


def carrier_of(audio: AudioFormat) -> AudioFormat:
    """The format in which sound from `audio` travels: its own where silence can be made in it and every muxer finds
    what it needs, otherwise AAC of the same rate, in mono or stereo."""
    if not _can_carry(audio):
        layout = _LAYOUTS[min(audio.channels, 2)]
        return format_of("aac", encoder_of("aac", rate_for("aac", audio.rate), layout))
    extradata = audio.extradata
    if audio.codec == "aac" and not extradata:
        extradata = low_complexity(audio.rate, audio.channels)
    if audio.codec == "opus" and not extradata:
        extradata = b"OpusHead\x01" + bytes([audio.channels]) + (312).to_bytes(2, "little")
        extradata += (48000).to_bytes(4, "little") + bytes(3)
    return replace(audio, extradata=extradata)


def silence(carrier: AudioFormat) -> Silence:
    """A packet of silence in `carrier`, which is one that `carrier_of` has returned."""
    encoder = encoder_of(carrier.codec, carrier.rate, _LAYOUTS[carrier.channels])
    num_samples = encoder.frame_size or round(_PCM_PACKET_S * carrier.rate)
    packets = []
    for number in range(8):  # the first ones still hold what the encoder says of itself
        frame = AudioFrame(format=encoder.format.name, layout=encoder.layout.name, samples=num_samples)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.time_base, frame.pts = carrier.rate, encoder.time_base, number * num_samples
        packets += encoder.encode(frame)
    data = bytes(packets[-1])
    return Silence(data, num_samples / carrier.rate, 0 if encoder.frame_size else len(data) // num_samples)


def _can_carry(audio: AudioFormat) -> bool:
    if audio.codec in _PCM:
        return audio.channels in _LAYOUTS
    if audio.channels not in _LAYOUTS or audio.channels > _MOST_CHANNELS.get(audio.codec, 0):
        return False
    if rate_for(audio.codec, audio.rate) != audio.rate:
        return False
    return audio.codec != "aac" or _is_plain_aac(audio)


def _is_same(audio: AudioFormat, carrier: AudioFormat) -> bool:
    """Whether packets of `audio` may stand between those of `carrier`."""
    same = (audio.codec, audio.rate, audio.channels) == (carrier.codec, carrier.rate, carrier.channels)
    return same and _can_carry(audio)


def _is_plain_aac(audio: AudioFormat) -> bool:
    """AAC-LC in packets of 1024 samples. HE-AAC is not: silence without its extensions would change the rate."""
    head = audio.extradata
    if not head:
        return audio.frame_samples in (0, 1024)
    if head[2:4] == b"\x56\xe5" and len(head) > 4 and head[4] & 0x80:
        return False
    return head[:2] == low_complexity(audio.rate, audio.channels)


def _without_adts(packet: LiveAudio, carrier: AudioFormat) -> bytes | None:
    """The packet as muxers want it, with the header once in the format; None where its own header says otherwise."""
    found = None if carrier.codec != "aac" or packet.format.extradata else bare(packet.data)
    if found is None:
        return packet.data
    data, config = found
    return data if rate_and_channels(config) == (carrier.rate, carrier.channels) else None
