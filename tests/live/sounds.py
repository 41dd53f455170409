"""Live sound for tests: tones as packets of any codec, and what a receiver would hear of packets."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame

from streamsr.live_frames import AudioFormat, LiveAudio
from streamsr.media.audio_out import decoder_of, encoder_of, format_of

LEVEL = 0.3


def tone(
    codec: str = "aac", rate: int = 48000, layout: str = "stereo", seconds: float = 2.0, start_s: float = 0.0
) -> list[LiveAudio]:
    """A sine of 440 Hz whose phase belongs to its time, so that pieces of it fit each other."""
    encoder = encoder_of(codec, rate, layout)
    size = encoder.frame_size or rate // 50
    packets: list[Any] = []
    first = round(start_s * rate)
    for begin in range(first, first + round(seconds * rate), size):
        samples = LEVEL * np.sin(2 * np.pi * 440 * np.arange(begin, begin + size) / rate)
        whole = np.tile(samples.astype(np.float32), (encoder.channels, 1))
        plain = AudioFrame.from_ndarray(whole, "fltp", encoder.layout.name)
        plain.sample_rate, plain.pts, plain.time_base = rate, begin, Fraction(1, rate)
        for frame in av.AudioResampler(encoder.format, encoder.layout, rate).resample(plain):
            packets += encoder.encode(frame)
    made = format_of(codec, encoder)
    return [LiveAudio(bytes(each), made, each.pts / rate, (each.duration or size) / rate, 0.0) for each in packets]


def heard(packets: Sequence[LiveAudio], carrier: AudioFormat) -> np.ndarray:
    """All samples of the first channel, as the carrier's own decoder gives them."""
    decoder = decoder_of(carrier)
    pieces = []
    for packet in packets:
        for frame in decoder.decode(av.Packet(packet.data)):
            floats = av.AudioResampler("fltp", frame.layout, frame.sample_rate).resample(frame)
            pieces += [each.to_ndarray()[0] for each in floats]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def loudest_click(samples: np.ndarray) -> float:
    """The largest step between two samples. A tone of LEVEL has small ones only."""
    return float(np.abs(np.diff(samples)).max())
