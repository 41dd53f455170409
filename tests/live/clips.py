"""Clips whose pictures and whose sound both say which moment of the clip they are, and the way back: how far sound and
pictures are apart in what came out at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.media import make_clip, read_number

SAMPLE_RATE = 48_000
BURST_S, WINDOW_S = 0.1, 0.005
FIRST_HZ, STEP_HZ, NUM_TONES = 600, 300, 12
LOUD = 0.1


def clip_with_audio(folder: Path, seconds: int = 4, width: int = 320, height: int = 180, rate: int = 24) -> Path:
    """An MP4 of H.264 (a key frame each second, no B-frames) and stereo AAC. Into the pictures their number is drawn,
    as tests/media.py does it; at the beginning of each second a short tone sounds, at another pitch each."""
    assert 1 <= seconds <= NUM_TONES
    path = folder / f"sound-{seconds}s-{width}x{height}-{rate}.mp4"
    pictures = make_clip(
        folder / f"silent-{path.name}", frames=seconds * rate, size=(width, height), rate=Fraction(rate), gop=rate,
        options={"preset": "ultrafast", "crf": "20"},
    )  # fmt: skip
    with av.open(str(pictures)) as source, av.open(str(path), "w") as output:
        video: Any = output.add_stream_from_template(source.streams.video[0])
        audio: Any = output.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        packets: list[Any] = [packet for packet in source.demux(source.streams.video[0]) if packet.dts is not None]
        for packet in packets:
            packet.stream = video
        packets += [packet for frame in _tones(seconds) for packet in audio.encode(frame)]
        packets += audio.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    pictures.unlink()
    return path


def _tones(seconds: int) -> Iterator[av.AudioFrame]:
    time_s = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    second = np.floor(time_s)
    samples = 0.5 * np.sin(2 * np.pi * (FIRST_HZ + STEP_HZ * second) * time_s) * (time_s - second < BURST_S)
    stereo = np.stack([samples, samples]).astype(np.float32)
    for at in range(0, stereo.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(stereo[:, at : at + 1024]), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, at, Fraction(1, SAMPLE_RATE)
        yield frame


@dataclass(frozen=True)
class Shown:
    """What a file or a stream has shown: (time, number) of its pictures, (time, second of the clip) of its tones, and
    the times of all audio frames, and the sizes of its pictures. Times in seconds of the file."""

    pictures: list[tuple[float, int]]
    tones: list[tuple[float, int]]
    audio_times: list[float]
    sizes: set[tuple[int, int]]

    def sync_errors(self, clip_s: float, rate: float = 24) -> list[float]:
        """Seconds by which the sound comes after its picture, at every tone near which there are pictures. A picture
        that is shown again has no time of its own."""
        pictures = [
            shown
            for shown, before in zip(self.pictures, [None, *self.pictures], strict=False)
            if before is None or shown[1] != before[1]
        ]
        errors = []
        for at, second in self.tones:
            # How much later than in the clip: of the sound at this tone, of the pictures around it.
            near = [time_s - number / rate - (at - second) for time_s, number in pictures if abs(time_s - at) < 0.5]
            if near:
                turns = [(later + clip_s / 2) % clip_s - clip_s / 2 for later in near]
                errors.append(-float(np.median(turns)))
        return errors


def shown_in(path: str | Path, seconds: float | None = None, **options: Any) -> Shown:
    """Decodes a file, or `seconds` of a stream. Pictures in which no number can be read are left out."""
    pictures: list[tuple[float, int]] = []
    sound: list[tuple[float, np.ndarray]] = []
    sizes: set[tuple[int, int]] = set()
    rate = SAMPLE_RATE
    with av.open(str(path), **options) as source:
        for frame in source.decode(*source.streams.video[:1], *source.streams.audio[:1]):
            if frame.pts is None or frame.time_base is None:
                continue
            time_s = float(frame.pts * frame.time_base)
            if isinstance(frame, av.VideoFrame):
                sizes.add((frame.width, frame.height))
                plane: Any = frame.planes[0]
                luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
                try:
                    pictures.append((time_s, read_number(luma)))
                except AssertionError:
                    continue
            elif isinstance(frame, av.AudioFrame):
                rate = frame.sample_rate
                samples = frame.to_ndarray().astype(np.float32)
                scale = 32768.0 if frame.format.name.startswith("s16") else 1.0
                sound.append((time_s, samples[0, :: 1 if frame.format.is_planar else frame.layout.nb_channels] / scale))
            if seconds is not None and pictures and pictures[-1][0] - pictures[0][0] > seconds:
                break
    return Shown(pictures, _tones_in(sound, rate), [time_s for time_s, _ in sound], sizes)


def _tones_in(sound: list[tuple[float, np.ndarray]], rate: int) -> list[tuple[float, int]]:
    """(begin, second of the clip) of each tone. Each stretch of sound without a gap is looked through for itself."""
    found: list[tuple[float, int]] = []
    for begin_s, samples in _stretches(sound, rate):
        size, length = round(WINDOW_S * rate), round(0.8 * BURST_S * rate)
        windows = samples[: len(samples) // size * size].reshape(-1, size)
        loud = np.sqrt((windows**2).mean(1)) > LOUD
        begins = np.flatnonzero(loud[1:] & ~loud[:-1]) + 1
        for begin in begins:
            tone = samples[begin * size : begin * size + length]
            if len(tone) < length or not loud[begin : begin + length // size].all():
                continue
            spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone))))
            hertz = float(np.argmax(spectrum)) * rate / len(tone)
            found.append((begin_s + float(begin) * WINDOW_S, round((hertz - FIRST_HZ) / STEP_HZ)))
    return found


def _stretches(sound: list[tuple[float, np.ndarray]], rate: int) -> Iterator[tuple[float, np.ndarray]]:
    begin_s, parts, end_s = 0.0, list[np.ndarray](), 0.0
    for time_s, samples in sound:
        if parts and abs(time_s - end_s) > WINDOW_S:
            yield begin_s, np.concatenate(parts)
            parts = []
        if not parts:
            begin_s = time_s
        parts.append(samples)
        end_s = time_s + len(samples) / rate
    if parts:
        yield begin_s, np.concatenate(parts)
