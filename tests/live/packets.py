"""Packets as a running stream makes them, fed to publishers in real time: numbered pictures of 160x90 and AAC."""

from __future__ import annotations

import functools
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from streamsr.frames import PixelLayout
from streamsr.live.address import parse_target
from streamsr.live_config import PublishConfig
from streamsr.live_frames import OUT_TIME_BASE, AudioFormat, LiveAudio, LiveVideo
from streamsr.media.publish import Publisher
from streamsr.runtime.gate import Gate
from tests.media import draw_planes, read_number

WIDTH, HEIGHT, FPS, GOP = 160, 90, 24, 12
SECONDS = 8
AAC_RATE, AAC_SAMPLES = 48000, 1024


@functools.cache
def pictures() -> tuple[bytes, tuple[LiveVideo, ...]]:
    """(template, packets) of SECONDS with a key frame each half second. The numbers of the pictures are drawn in."""
    file = io.BytesIO()
    container = av.open(file, "w", format="nut")
    stream: Any = container.add_stream("libx264", rate=FPS)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate, context.gop_size = OUT_TIME_BASE, Fraction(FPS), GOP
    context.options = {
        "tune": "zerolatency",
        "preset": "ultrafast",
        "profile": "baseline",
        "bf": "0",
        "sc_threshold": "0",
    }
    context.thread_count = 1
    context.flags |= av.codec.context.Flags.global_header
    context.open(strict=False)
    made = []
    for number in range(SECONDS * FPS):
        planes = draw_planes(number, PixelLayout("420", 8), WIDTH, HEIGHT)
        flat = np.concatenate([plane.astype(np.uint8).ravel() for plane in planes]).reshape(-1, WIDTH)
        frame = av.VideoFrame.from_ndarray(flat, "yuv420p")
        frame.pts, frame.time_base = number * 90000 // FPS, OUT_TIME_BASE
        made += context.encode(frame)
    made += context.encode(None)
    packets = tuple(LiveVideo(bytes(each), each.pts, each.dts, bool(each.is_keyframe), 0.0) for each in made)
    first = av.Packet(packets[0].data)
    first.pts = first.dts = 0
    first.time_base, first.stream, first.is_keyframe = OUT_TIME_BASE, stream, True
    container.mux(first)
    container.close()
    return file.getvalue(), packets


@functools.cache
def sound() -> tuple[AudioFormat, tuple[LiveAudio, ...]]:
    """A tone of SECONDS in AAC."""
    encoder: Any = av.CodecContext.create("aac", "w")
    encoder.sample_rate, encoder.layout, encoder.format = AAC_RATE, "stereo", "fltp"
    encoder.time_base = Fraction(1, AAC_RATE)
    encoder.open()
    audio = AudioFormat("aac", AAC_RATE, "stereo", 2, AAC_SAMPLES, bytes(encoder.extradata))
    packets: list[LiveAudio] = []
    for start in range(0, SECONDS * AAC_RATE, AAC_SAMPLES):
        moments = (np.arange(AAC_SAMPLES) + start) / AAC_RATE
        tone = np.tile(0.3 * np.sin(2 * np.pi * 440 * moments), (2, 1)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(tone, "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = AAC_RATE, start, encoder.time_base
        for packet in encoder.encode(frame):
            time_s = len(packets) * AAC_SAMPLES / AAC_RATE
            packets.append(LiveAudio(bytes(packet), audio, time_s, AAC_SAMPLES / AAC_RATE, 0.0))
    return audio, tuple(packets)


class Takes(Protocol):
    """What a Feed needs of a publisher."""

    def begin(self, video_template: bytes, audio: AudioFormat | None, /) -> None: ...
    def put(self, packet: LiveVideo | LiveAudio, /) -> None: ...


class Feed:
    """Sends the packets again and again, each at its time, to all publishers, from a thread of its own.
    `only_pictures`: sound is promised, and never comes."""

    def __init__(self, publishers: Sequence[Takes], *, only_pictures: bool = False) -> None:
        self._publishers, self._with_sound = publishers, not only_pictures
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed")
        self.slowest_put_s = 0.0

    def __enter__(self) -> Feed:
        template, _ = pictures()
        for publisher in self._publishers:
            publisher.begin(template, sound()[0])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        for out_s, packet in endless(with_sound=self._with_sound):
            wait_s = out_s - (time.monotonic() - started)
            if self._is_over.wait(max(wait_s, 0)):
                return
            for publisher in self._publishers:
                before = time.monotonic()
                publisher.put(packet)
                self.slowest_put_s = max(self.slowest_put_s, time.monotonic() - before)


FILLER = b"\0\0\0\1\x0c" + b"\xff" * 200_000 + b"\x80"
"""A part of an H.264 picture that says nothing, so that socket buffers and disks are soon full."""


class Fat:
    """Makes the pictures on their way to a publisher large."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def begin(self, video_template: bytes, audio: AudioFormat | None) -> None:
        self._publisher.begin(video_template, audio)

    def put(self, packet: LiveVideo | LiveAudio) -> None:
        self._publisher.put(replace(packet, data=packet.data + FILLER) if isinstance(packet, LiveVideo) else packet)


def endless(*, with_sound: bool = True) -> Iterator[tuple[float, LiveVideo | LiveAudio]]:
    """(when, packet), in order. The numbers in the pictures begin again after SECONDS, times go on."""
    audio = sound()[1] if with_sound else ()
    base_s = 0.0
    while True:
        base = round(base_s / OUT_TIME_BASE)
        now = time.monotonic()
        both: list[tuple[float, LiveVideo | LiveAudio]] = [
            (
                base_s + packet.time_s,
                LiveAudio(packet.data, packet.format, base_s + packet.time_s, packet.duration_s, now),
            )
            for packet in audio
        ]
        both += [
            (
                base_s + packet.pts / 90000,
                LiveVideo(packet.data, packet.pts + base, packet.dts + base, packet.is_keyframe, now),
            )
            for packet in pictures()[1]
        ]
        yield from sorted(both, key=lambda entry: entry[0])
        base_s += SECONDS


@contextmanager
def publishing(
    *targets: str, gate: Gate | None = None, end_s: float = 4.0, **settings: Any
) -> Iterator[tuple[Publisher, ...]]:
    """Running publishers of these targets, which are closed at the end."""
    cfg = PublishConfig(**{"listen": "none", **settings})
    gate = gate or Gate()
    publishers = tuple(
        Publisher(parse_target(target), cfg, gate, f"publish[{number}]") for number, target in enumerate(targets)
    )
    threads = [threading.Thread(target=each.run, name=each.name) for each in publishers]
    for thread in threads:
        thread.start()
    try:
        yield publishers
    finally:
        closers = [threading.Thread(target=each.close, args=(end_s,)) for each in publishers]
        for closer in closers:
            closer.start()
        for closer in (*closers, *threads):
            closer.join()


def wait_until(condition: Callable[[], object], timeout_s: float, what: str = "") -> None:
    """Raises AssertionError when `condition()` has not become true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)


def numbers_in(path: Path) -> list[int]:
    """The numbers of the pictures in a file; a torn end is left out."""
    with av.open(str(path)) as container:
        return list(numbers_of(container))


def numbers_of(container: Any) -> Iterator[int]:
    try:
        for frame in container.decode(video=0):
            yield read_number(frame.to_ndarray(format="gray"))
    except av.error.InvalidDataError:
        return


def num_audio_packets(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for packet in container.demux(audio=0) if packet.size)
