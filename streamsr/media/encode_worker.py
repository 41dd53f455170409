"""The encoder's own process: pictures in shared memory become packets. Imports av and numpy, never torch.

The parent sends                     and gets
  ("picture", slot, pts[, is_key])     ("template", container)    once, before the first packet: see stream_template
  ("end",)                             ("free", slot)              the encoder has let go of the slot's pixels
                                       ("packet", data, pts, dts, is_keyframe)
                                       ("taken", busy_s)           a picture was handed to the encoder
                                       ("done", busy_s)            all packets were sent
                                       ("failed", message)         the encoder refused; the process ends
"""

from __future__ import annotations

import io
import os
import queue
import signal
import threading
import time
import weakref
from typing import Any, Protocol

import av
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from streamsr.frames import ColorTags
from streamsr.media.encoders import EncoderSettings

# The container in which the stream's parameters travel to the parent. NUT keeps the extradata byte for byte, so that it
# fits the packets (MP4 would turn Annex B into lengths); the others say in MP4 what their bitstreams do not (sample
# aspect, colour). All three keep a sample aspect exactly, which Matroska rounds.
_TEMPLATE_FORMAT = {"h264": "nut", "hevc": "nut", "prores": "mov", "av1": "mp4", "vp9": "mp4", "ffv1": "mp4"}


class Duplex(Protocol):
    """What the worker needs of a multiprocessing.connection.Connection."""

    def send(self, obj: Any, /) -> None: ...
    def recv(self) -> Any: ...


def tag_colors(target: VideoCodecContext | VideoFrame, color: ColorTags) -> None:
    target.colorspace = color.matrix
    target.color_primaries = color.primaries
    target.color_trc = color.transfer
    target.color_range = 2 if color.full_range else 1


def encode_pictures(connection: Duplex, settings: EncoderSettings, slots: Any) -> None:
    """The process' main function. Returns after "end", after a failure, and when the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it drains first
    os.environ.setdefault("SVT_LOG", "2")
    av.logging.restore_default_callback()  # FFmpeg's own words go to stderr, which the parent keeps
    av.logging.set_libav_level(av.logging.WARNING)
    # Slots are let go of on the encoder's threads, where a blocking send could hold them up or meet itself;
    # SimpleQueue.put is re-entrant. It is bounded by the slots: nothing is sent for pictures that never came.
    outbox: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
    sender = threading.Thread(target=_send_all, args=(outbox, connection), name="encode-send")
    sender.start()
    try:
        PictureEncoder(settings, slots, outbox).run(connection)
    except (EOFError, ConnectionError):
        pass  # the parent is gone or has given up
    except (av.FFmpegError, ValueError, MemoryError) as error:
        outbox.put(("failed", f"{type(error).__name__}: {error}"))
        raise
    finally:
        outbox.put(None)
        sender.join()


def _send_all(outbox: queue.SimpleQueue[tuple[Any, ...] | None], connection: Duplex) -> None:
    while (message := outbox.get()) is not None:
        try:
            connection.send(message)
        except (OSError, ValueError):
            return


class PictureEncoder:
    """One open encoder. `outbox` gets the messages for the parent."""

    def __init__(self, settings: EncoderSettings, slots: Any, outbox: queue.SimpleQueue[Any]) -> None:
        self._settings, self._slots, self._outbox = settings, slots, outbox
        self._busy_s = 0.0
        self._sent_template = False
        self._file = io.BytesIO()
        self._container = av.open(self._file, "w", format=_TEMPLATE_FORMAT.get(settings.codec, "matroska"))
        self._stream = self._container.add_stream(settings.encoder, rate=settings.rate)
        context = self._stream.codec_context
        assert isinstance(context, VideoCodecContext)
        self._context = context
        configure(context, settings)
        self._context.open(strict=False)

    def run(self, connection: Duplex) -> None:
        while (message := connection.recv())[0] == "picture":
            _, index, pts, *is_key = message
            self._feed(self._frame(index, pts, is_key=any(is_key)))
            self._outbox.put(("taken", self._busy_s))
        self._feed(None)
        self._outbox.put(("done", self._busy_s))

    def _feed(self, frame: VideoFrame | None) -> None:
        started = time.perf_counter()
        packets = self._context.encode(frame)
        self._busy_s += time.perf_counter() - started
        for packet in packets:
            data = bytes(packet)
            if not self._sent_template:
                self._outbox.put(("template", self._template(data)))
                self._sent_template = True
            self._outbox.put(("packet", data, packet.pts, packet.dts, packet.is_keyframe))

    def _frame(self, index: int, pts: int, *, is_key: bool) -> VideoFrame:
        """The picture in slot `index`, not copied; "free" is sent when the last reference to its pixels is dropped.
        `is_key`: the encoder is made to begin a GOP with it; otherwise it decides itself."""
        settings = self._settings
        memory = self._slots.memory(index)
        planes = settings.layout.planes_of(memory, settings.width, settings.height)
        held = [None] * len(planes)

        def let_go() -> None:
            held.pop()
            if not held:
                self._outbox.put(("free", index))

        for plane in planes:
            weakref.finalize(plane, let_go).atexit = False
        frame = VideoFrame.from_dlpack(planes, settings.layout.pix_fmt, settings.width, settings.height)
        tag_colors(frame, settings.color)
        if settings.pix_fmt != settings.layout.pix_fmt:
            frame = frame.reformat(format=settings.pix_fmt)
        tag_colors(frame, settings.color)
        frame.pts, frame.time_base = pts, settings.time_base
        frame.pict_type = PictureType.I if is_key else PictureType.NONE
        return frame

    def _template(self, first: bytes) -> bytes:
        """A file with one packet: muxers and demuxers learn from it what they cannot read from the headers."""
        packet = av.Packet(first)
        packet.pts = packet.dts = 0
        packet.time_base, packet.stream, packet.is_keyframe = self._settings.time_base, self._stream, True
        self._container.mux(packet)
        self._container.close()
        return self._file.getvalue()


def configure(context: VideoCodecContext, settings: EncoderSettings) -> None:
    """Everything an encoder has to know before it is opened."""
    context.width, context.height, context.pix_fmt = settings.width, settings.height, settings.pix_fmt
    context.time_base, context.framerate = settings.time_base, settings.rate
    context.sample_aspect_ratio = settings.sample_aspect
    context.thread_count, context.thread_type = settings.threads, "AUTO"
    context.gop_size = settings.gop
    tag_colors(context, settings.color)
    context.options = dict(settings.options)
    if settings.global_header:
        context.flags |= Flags.global_header
    else:
        context.flags &= ~Flags.global_header
