"""Pairs of pictures for a browser: the upscaled one and its original in one picture, encoded for WebRTC.

Both lie in ONE video picture, the original in its own size below the upscaled one. Two tracks have two jitter buffers
in the browser, which drift against each other by pictures, and no way back to which belonged together. Below rather
than beside, and not enlarged: the page enlarges as it likes, next to nothing is spent on the copy, and a 4K result
stays within the 4096 columns of a hardware encoder."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace

from streamsr.media.color import RANGE_LIMITED

RtcCodec = Literal["h264", "vp8"]
VideoPacket: TypeAlias = "av.Packet[av.VideoStream]"
TIME_BASE = Fraction(1, 90_000)
NOMINAL_RATE = 30
"""Pictures per second that a bit rate is meant for; what comes slower takes less."""
KEY_EVERY = 60
"""Pictures: a viewer who lost one for good waits no longer."""
LEAST_BITS, MOST_BITS = 1_000_000, 40_000_000
BITS_AT, PIXELS_AT = 5_000_000, 1280 * 900
GAP = 16
"""The original begins at a multiple of this many rows, so that no block of the encoder holds both."""
MOST_BLOCKS_H264 = 36_864
"""Of 16x16 pixels, level 5.2's limit: Chromium takes no parameter set of a larger picture over WebRTC."""
BLACK = (16, 128, 128)
BT_601 = 6
"""H.273's number of SMPTE 170M, for matrix, primaries and transfer alike."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the two pictures lie in the common one: (x, y, width, height) of each."""

    upscaled: tuple[int, int, int, int]
    original: tuple[int, int, int, int]
    width: int
    height: int

    @classmethod
    def of(cls, upscaled: tuple[int, int], original: tuple[int, int]) -> Geometry:
        """From (width, height) of both."""
        top = -(-upscaled[1] // GAP) * GAP
        width, height = max(upscaled[0], original[0]), top + original[1]
        return cls((0, 0, *upscaled), (0, top, *original), width + width % 2, height + height % 2)

    @property
    def fits_h264(self) -> bool:
        """Whether browsers take a picture of this size as H.264. A 4K result with a 1080p original is too large."""
        return -(-self.width // 16) * -(-self.height // 16) <= MOST_BLOCKS_H264


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """Both pictures in one, to be shown at `time_s`."""

    picture: av.VideoFrame = field(repr=False)
    geometry: Geometry
    time_s: float


def compose(upscaled: Sequence[np.ndarray], original: np.ndarray, time_s: float) -> Composed:
    """`upscaled`: planes Y, U, V of 4:2:0, BT.601, limited range; `original`: (H, W, 3) RGB; both uint8 and copied.

    BT.601 because VP8 knows nothing else. H.264 says so in its headers: without that Chromium takes it for BT.709."""
    rows, columns = upscaled[0].shape
    geometry = Geometry.of((columns, rows), (original.shape[1], original.shape[0]))
    picture = av.VideoFrame(geometry.width, geometry.height, "yuv420p")
    small = av.VideoFrame.from_ndarray(np.ascontiguousarray(original), "rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
    )
    top = geometry.original[1]
    for index, plane in enumerate(upscaled):
        whole, below = _plane(picture, index), _plane(small, index)
        whole[:] = BLACK[index]
        whole[: plane.shape[0], : plane.shape[1]] = plane
        row = top if index == 0 else top // 2
        whole[row : row + below.shape[0], : below.shape[1]] = below
    return Composed(picture, geometry, time_s)


def bits_for(width: int, height: int) -> int:
    """Bits per second for a common picture of this size: 5 Mb/s for 720p, 9 for 1080p, 25 for 4K."""
    wanted: float = BITS_AT * (width * height / PIXELS_AT) ** 0.75
    return round(min(max(wanted, LEAST_BITS), MOST_BITS))


class PairEncoder:
    """Encodes what is put, on a thread of its own; while it is busy the newest picture wins.

    `encoders`: FFmpeg's names, the first that opens is used. `deliver` gets packets in TIME_BASE on that thread, with
    the geometry of their picture. `fail` is told once, when no encoder works."""

    def __init__(
        self,
        encoders: Sequence[str],
        deliver: Callable[[VideoPacket, Geometry], None],
        fail: Callable[[str], None],
    ) -> None:
        self._encoders, self._deliver, self._fail = tuple(encoders), deliver, fail
        self._changed = threading.Condition()
        self._next: Composed | None = None
        self._is_open, self._key_wanted = True, False
        self._share = 1.0
        self._last_pts = -1
        self.dropped, self.sent, self.bit_rate = 0, 0, 0
        self._thread = threading.Thread(target=self._run, name="rtc-encode", daemon=True)
        self._thread.start()

    def put(self, composed: Composed) -> None:
        """Any thread; never blocks."""
        with self._changed:
            self.dropped += self._next is not None
            self._next = composed
            self._changed.notify()

    def want_key(self) -> None:
        """The next picture can be decoded without those before it."""
        self._key_wanted = True

    def set_share(self, share: float) -> None:
        """Of the bit rate that suits the size: 1 all of it, less for a line that loses packets."""
        self._share = min(1.0, max(0.05, share))

    def close(self, timeout_s: float = 2.0) -> None:
        """Idempotent; nothing is delivered afterwards."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _pictures(self) -> Iterator[Composed]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next is not None or not self._is_open)
                composed, self._next = self._next, None
            if not self._is_open or composed is None:
                return
            yield composed

    def _run(self) -> None:
        context: VideoCodecContext | None = None
        size = (0, 0)
        try:
            for composed in self._pictures():
                geometry = composed.geometry
                if context is None or size != (geometry.width, geometry.height):
                    size = geometry.width, geometry.height
                    self.bit_rate = round(bits_for(*size) * self._share)
                    context = open_first(self._encoders, *size, self.bit_rate)
                self._encode(context, composed)
        except (av.FFmpegError, ValueError, RuntimeError) as error:
            self._fail(f"the picture cannot be encoded for the browser: {error}")

    def _encode(self, context: VideoCodecContext, composed: Composed) -> None:
        wanted = round(bits_for(context.width, context.height) * self._share)
        if abs(wanted - self.bit_rate) > 0.1 * self.bit_rate:
            self.bit_rate = context.bit_rate = wanted  # libx264 and NVENC take it up at the next picture
        picture = composed.picture
        self._last_pts = picture.pts = max(self._last_pts + 1, round(composed.time_s / TIME_BASE))
        picture.time_base = TIME_BASE
        if self._key_wanted:
            self._key_wanted = False
            picture.pict_type = PictureType.I
        for packet in context.encode(picture):
            packet.time_base = TIME_BASE
            self.sent += 1
            if self._is_open:
                self._deliver(packet, composed.geometry)


def encoders_for(codec: RtcCodec, hardware: bool) -> tuple[str, ...]:
    """Names to try in turn. `hardware`: there is an NVIDIA card at work anyway."""
    if codec == "vp8":
        return ("libvpx",)
    return ("h264_nvenc", "libx264") if hardware else ("libx264",)


def open_first(names: Sequence[str], width: int, height: int, bits: int) -> VideoCodecContext:
    """The first encoder that opens. Raises what the last one says."""
    for name in names[:-1]:
        with contextlib.suppress(av.FFmpegError, ValueError):
            return _opened(name, width, height, bits)
    return _opened(names[-1], width, height, bits)


def _opened(name: str, width: int, height: int, bits: int) -> VideoCodecContext:
    """Ready for pictures: no delay, no global header (parameter sets come with each key picture), the constrained
    baseline profile that was agreed upon."""
    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = TIME_BASE, Fraction(NOMINAL_RATE)
    context.bit_rate, context.gop_size, context.max_b_frames = bits, KEY_EVERY, 0
    context.thread_count = min(4, max(1, (os.cpu_count() or 1) // 2))
    context.colorspace = context.color_primaries = context.color_trc = BT_601
    context.color_range = RANGE_LIMITED
    context.options = _options(name, width * height, bits)
    context.open()
    opened: VideoCodecContext = context
    return opened


def _options(name: str, pixels: int, bits: int) -> dict[str, str]:
    # A fifth of a second of buffer: nothing paces the packets of a key picture, and a burst overruns the receiver.
    limits = {"maxrate": str(bits), "bufsize": str(bits // 5)}
    if name == "h264_nvenc":
        return {"preset": "p3", "tune": "ull", "zerolatency": "1", "rc": "cbr", "profile": "baseline"} | {
            "forced-idr": "1",
            **limits,
        }
    if name == "libvpx":
        return {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0", **limits}
    preset = "superfast" if pixels <= 2 * PIXELS_AT else "ultrafast"
    return {"preset": preset, "tune": "zerolatency", "profile": "baseline", "forced-idr": "1", **limits}


def _plane(picture: av.VideoFrame, index: int) -> np.ndarray:
    """A plane without the padding of its rows, as a view that can be written."""
    plane = picture.planes[index]
    rows: np.ndarray = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]
