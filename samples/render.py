"""Draws samples/parade.mp4 and parade.png: `python samples/render.py [FOLDER]`. Always the same bytes on one machine.

Our own drawing and tune; both are given away under CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from scene import SIZE, draw

RATE, SECONDS = 24, 2
SAMPLE_RATE = 48_000
STILL_AT_S = 1.25
TUNE = (72, 76, 79, 76, 77, 74, 72, 0)
"""MIDI notes, a quarter of a second each; 0 is a rest."""


def melody() -> np.ndarray:
    """Stereo samples in -1..1, (2, SAMPLE_RATE * SECONDS) float32: a flute left of the middle, a drum right of it."""
    sound = np.zeros((2, SAMPLE_RATE * SECONDS), np.float64)
    step = SAMPLE_RATE // 4
    time_s = np.arange(step) / SAMPLE_RATE
    noise = np.random.default_rng(1).uniform(-1, 1, step)
    for number, note in enumerate(TUNE):
        span = slice(number * step, (number + 1) * step)
        if note:
            hertz = 440 * 2 ** ((note - 69) / 12)
            tone = sum(np.sin(2 * np.pi * hertz * part * time_s) / part**2 for part in (1, 2, 3, 4))
            loudness = np.minimum(1, time_s / 0.015) * np.exp(-3.5 * time_s)
            sound[:, span] += 0.32 * tone * loudness * np.array([[0.8], [0.5]])
        drum = np.sin(2 * np.pi * 90 * time_s * np.exp(-4 * time_s)) * np.exp(-18 * time_s)
        snare = noise * np.exp(-40 * time_s) * (0.5 if number % 2 else 0.15)
        sound[:, span] += 0.35 * (drum * (number % 2 == 0) + snare) * np.array([[0.5], [0.8]])
    return np.clip(sound, -1, 1).astype(np.float32)


def write_video(path: Path) -> None:
    """H.264 and AAC in MP4, encoded on one thread so that the bytes do not depend on timing."""
    with av.open(str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
        container.metadata["title"] = "Parade"
        container.metadata["copyright"] = "CC0 1.0"
        video: Any = container.add_stream("libx264", rate=RATE, options={"crf": "23", "preset": "veryslow"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        context = video.codec_context
        context.thread_count = 1
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1
        audio: Any = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo", bit_rate=80_000)
        audio.metadata["language"] = "zxx"  # no words
        for index in range(RATE * SECONDS):
            picture = av.VideoFrame.from_ndarray(draw(index / RATE), format="rgb24")
            frame = picture.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = melody()
        size = audio.codec_context.frame_size or 1024
        for start in range(0, sound.shape[1], size):
            block = np.ascontiguousarray(sound[:, start : start + size])
            samples = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            samples.sample_rate, samples.pts, samples.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(samples))
        container.mux(audio.encode(None))


def write_picture(path: Path) -> None:
    """The moment STILL_AT_S as PNG."""
    bgr = cv2.cvtColor(draw(STILL_AT_S), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        raise OSError(f"cannot write {path}")


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    write_video(folder / "parade.mp4")
    write_picture(folder / "parade.png")
