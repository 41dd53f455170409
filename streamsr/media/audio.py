"""Audio that the output's container cannot hold: decoded, resampled where the encoder must, encoded again, in time.

Audio that it can hold never comes here: its packets are copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from streamsr.media.containers import Container
from streamsr.media.resample import Resampler

SLACK_S = 0.03
"""Time stamps may jitter by so much without a gap being meant: Matroska rounds to 1 ms, some TS writers do worse."""
LONGEST_GAP_S = 600.0
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_BITS_PER_CHANNEL = {"aac": (128_000, 96_000, 72_000), "libopus": (96_000, 72_000, 56_000)}
# Encoders name the two surround channels of 5.1 "back", whatever the source calls them; the order is the same.
_RENAMED = {"5.1(side)": "5.1", "5.0(side)": "5.0", "quad(side)": "quad"}
_LAYOUTS = {
    "aac": {"mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"},
    "libopus": {"mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"},
    "flac": {"mono", "stereo", "3.0", "quad", "5.0", "5.1", "5.1(side)", "6.1", "7.1"},
}
_BY_COUNT = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """What an encoder is fed: `samples` is FFmpeg's name of a planar sample format; `bit_rate` 0 is lossless."""

    encoder: str
    rate: int
    layout: str
    samples: str
    bit_rate: int

    def __str__(self) -> str:
        kilobits = f" at {self.bit_rate // 1000} kbit/s" if self.bit_rate else ""
        return f"{self.encoder.removeprefix('lib')}{kilobits}, {self.layout}, {self.rate} Hz"


def can_transcode(stream: Stream) -> str:
    """Why `stream` cannot be decoded, or an empty string if it can."""
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        return "no decoder knows it"
    if stream.codec_context.sample_rate <= 0 or not 1 <= stream.codec_context.channels <= 8:
        return f"{stream.codec_context.channels} channels at {stream.codec_context.sample_rate} Hz are not usable"
    return ""


def format_for(stream: AudioStream, container: Container) -> AudioFormat:
    """The format into which `stream` is transcoded for `container`: rate and channels are kept where possible."""
    context = stream.codec_context
    encoder = container.audio_encoder
    simple = context.codec.canonical_name.startswith(("pcm_", "adpcm_"))
    if encoder == "flac" and not context.codec.lossless and not simple:
        encoder = "aac"  # nothing is gained by storing a lossy track without loss
    layout = _layout_for(context.layout.name, context.channels, encoder)
    if encoder == "flac":
        samples = "s16p" if context.format.name.rstrip("p") in ("u8", "s16") else "s32p"
        return AudioFormat(encoder, context.sample_rate, layout, samples, 0)
    rate = _rate_for(context.sample_rate, _AAC_RATES if encoder == "aac" else _OPUS_RATES)
    per_channel = _BITS_PER_CHANNEL[encoder][min(context.channels, 3) - 1]
    bit_rate = round(per_channel * context.channels * min(1.0, rate / 44100))
    return AudioFormat(encoder, rate, layout, "fltp", bit_rate)


class AudioTranscoder:
    """Turns the packets of `source`, whose times are already those of the output, into packets of a new stream.

    Samples before 0 and from `duration_s` on are left out. Gaps become silence, overlaps are cut, so that every
    sample keeps its time. `.stream` is the new stream of `output`; `.damaged` counts packets that did not decode."""

    def __init__(
        self, source: AudioStream, output: OutputContainer, container: Container, duration_s: float | None = None
    ) -> None:
        self._decoder = source.codec_context
        self.format = format_for(source, container)
        self.damaged = 0
        bit_rate: dict[str, Any] = {"bit_rate": self.format.bit_rate} if self.format.bit_rate else {}
        stream = output.add_stream(self.format.encoder, rate=self.format.rate, layout=self.format.layout, **bit_rate)
        assert isinstance(stream, AudioStream)
        self.stream = stream
        stream.codec_context.format = self.format.samples if self.format.samples == "fltp" else self.format.samples[:-1]
        if self.format.encoder == "libopus":
            stream.codec_context.format = "flt"
        stream.time_base = Fraction(1, self.format.rate)
        self._rate = self._decoder.sample_rate
        self._end = None if duration_s is None else round(duration_s * self._rate)
        self._to_format = AudioResampler(format=self.format.samples, layout=self.format.layout)
        self._input_shape: tuple[Any, ...] | None = None
        self._resampler = Resampler(self._rate, self.format.rate) if self._rate != self.format.rate else None
        self._position: int | None = None  # of the next sample, counted at the source's rate from time 0
        self._written = 0  # samples given to the encoder
        self._first = 0  # time of the first of them, in output samples

    def take(self, packet: Packet[AudioStream]) -> list[Packet[AudioStream]]:
        try:
            frames = self._decoder.decode(packet)
        except (av.FFmpegError, ValueError):
            self.damaged += 1
            return []
        return [encoded for frame in frames for encoded in self._take_frame(frame)]

    def finish(self) -> list[Packet[AudioStream]]:
        """The last packets: the decoder, the resampler and the encoder are drained."""
        packets: list[Packet[AudioStream]] = []
        try:
            for frame in self._decoder.decode(None):
                packets += self._take_frame(frame)
        except (av.FFmpegError, ValueError):
            self.damaged += 1
        if self._resampler is not None:
            packets += self._encode(self._resampler.finish())
        if self._position is not None:
            packets += self._labelled(self.stream.codec_context.encode(None))
        return packets

    def _take_frame(self, frame: AudioFrame) -> Iterator[Packet[AudioStream]]:
        if frame.sample_rate != self._rate:  # a change in mid-stream: everything after it would run at a wrong pitch
            self.damaged += 1
            return
        start = self._start_of(frame)
        samples = self._samples_of(frame)
        if self._position is None:
            self._position = max(start, 0)
            self._first = round(Fraction(self._position * self.format.rate, self._rate))
        for silence in self._silence_until(start, samples):
            yield from self._put(silence)
        yield from self._put(samples[:, max(self._position - start, 0) :])

    def _start_of(self, frame: AudioFrame) -> int:
        """The position of the first sample of `frame`; jitter is smoothed."""
        expected = self._position
        if frame.pts is None or frame.time_base is None:
            return expected or 0
        start = round(frame.pts * frame.time_base * self._rate)
        if expected is None:
            return start
        off_s = abs(start - expected) / self._rate
        return expected if off_s <= SLACK_S or off_s > LONGEST_GAP_S else start

    def _samples_of(self, frame: AudioFrame) -> np.ndarray:
        shape = (frame.format.name, frame.layout.name)
        if self._input_shape not in (None, shape):  # a converter is made for one kind of input
            self._to_format = AudioResampler(format=self.format.samples, layout=self.format.layout)
        self._input_shape = shape
        parts = [part.to_ndarray() for part in self._to_format.resample(frame)]
        return np.concatenate(parts, axis=1)

    def _silence_until(self, start: int, like: np.ndarray) -> Iterator[np.ndarray]:
        assert self._position is not None
        missing = start - self._position
        while missing > 0:
            count = min(missing, self._rate)
            yield np.zeros((like.shape[0], count), like.dtype)
            missing -= count

    def _put(self, samples: np.ndarray) -> Iterator[Packet[AudioStream]]:
        assert self._position is not None
        if self._end is not None:
            samples = samples[:, : max(self._end - self._position, 0)]
        if samples.shape[1] == 0:
            return
        self._position += samples.shape[1]
        yield from self._encode(samples if self._resampler is None else self._resampler.take(samples))

    def _encode(self, samples: np.ndarray) -> list[Packet[AudioStream]]:
        if samples.shape[1] == 0:
            return []
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), self.format.samples, self.format.layout)
        frame.sample_rate = self.format.rate
        frame.time_base = Fraction(1, self.format.rate)
        frame.pts = self._first + self._written
        self._written += samples.shape[1]
        return self._labelled(self.stream.codec_context.encode(frame))

    def _labelled(self, packets: list[Packet[Any]]) -> list[Packet[AudioStream]]:
        for packet in packets:
            packet.stream = self.stream
        return packets


def _layout_for(name: str, channels: int, encoder: str) -> str:
    """The source's layout if `encoder` knows it, else the usual one of as many channels."""
    renamed = name if encoder == "flac" else _RENAMED.get(name, name)
    return renamed if renamed in _LAYOUTS[encoder] else _BY_COUNT[channels]


def _rate_for(rate: int, rates: tuple[int, ...]) -> int:
    """The same rate, or the next higher one; from above 48 kHz, down to the one that divides it."""
    if rate in rates:
        return rate
    if rate > rates[-1]:
        return 44100 if rate % 44100 == 0 and 44100 in rates else 48000
    return next(candidate for candidate in rates if candidate >= rate)
