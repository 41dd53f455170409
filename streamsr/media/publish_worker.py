"""The own process of one target: whatever hangs in it, a watchdog may kill it. Imports av, never torch.

The parent sends            and gets
  ("packet", packet)          ("ready",)            once the libraries are loaded
  ("end",)                    ("opened",)           the target has answered; for files at once
                              ("sent", is_used)     the oldest packet was handed to the muxer, or was not for it
                              ("failed", message)   the process ends; the message may hold secrets
                              ("done",)             everything is written
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Protocol

import av

from streamsr.errors import SinkError, StreamSRError
from streamsr.live.address import TargetKind
from streamsr.live.hls_folder import hls_folder
from streamsr.live_frames import AudioFormat, LiveAudio, LiveVideo
from streamsr.media.audio_out import AudioOut, target_codec
from streamsr.media.audio_track import can_describe
from streamsr.media.encode_worker import Duplex
from streamsr.media.live_mux import LiveMux, Output, hls_output, network_output, whip_output
from streamsr.media.recording import Recording
from streamsr.media.srt_bridge import SrtBridge, srt_output
from streamsr.media.whip_certificate import certificate_file

_STEREO_48K = (48000, 2)


@dataclass(frozen=True, slots=True)
class PublishJob:
    """What the process has to know. `audio`: the format of the sound it is sent. `audio_mode`: copy or transcode.
    `timeout_s`: how long a server may take for one answer. `is_again`: it is not the target's first process."""

    kind: TargetKind
    url: str
    template: bytes
    audio: AudioFormat | None
    audio_mode: str
    timeout_s: float
    segment_s: float
    segments: int
    rotate_s: float
    is_again: bool


class Mux(Protocol):
    """LiveMux or Recording."""

    def open(self) -> None: ...
    def write(self, packet: LiveVideo | LiveAudio) -> bool: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


def publish_packets(connection: Duplex, job: PublishJob) -> None:
    """The process' main function. Returns after "end", after a failure, and when the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("AV_LOG_FORCE_NOCOLOR", "1")
    av.logging.restore_default_callback()  # FFmpeg's own words go to stderr, which the parent keeps
    av.logging.set_libav_level(av.logging.ERROR)
    try:
        with ExitStack() as stack:
            connection.send(("ready",))
            sound = _sound(job)
            target = _Target(job, sound.format if sound is not None else job.audio, stack)
            connection.send(("opened",))
            target.run(connection, sound)
        connection.send(("done",))
    except (av.FFmpegError, OSError, ValueError, StreamSRError) as error:
        with suppress(OSError):  # the parent may be gone
            connection.send(("failed", plain_reason(error, job.kind)))


class _Target:
    def __init__(self, job: PublishJob, audio: AudioFormat | None, stack: ExitStack) -> None:
        self._bridge: SrtBridge | None = None
        self._mux = self._open(job, audio, stack)

    def run(self, connection: Duplex, sound: AudioOut | None) -> None:
        try:
            while (packet := _next(connection)) is not None:
                is_used = [self._mux.write(made) for made in _made(packet, sound)]
                if self._bridge is not None and not self._bridge.alive():
                    raise SinkError("the SRT connection ended")
                connection.send(("sent", any(is_used)))
            for made in sound.flush() if sound is not None else ():
                self._mux.write(made)
        except BaseException:
            self._mux.abandon()
            raise
        self._mux.close()

    def _open(self, job: PublishJob, audio: AudioFormat | None, stack: ExitStack) -> Mux:
        mux: Mux
        if job.kind == "record":
            mux = Recording(job.url, job.template, audio, job.rotate_s)
        else:
            mux = LiveMux(self._output(job, stack), job.template, audio)
        try:
            mux.open()
        except BaseException:
            mux.abandon()
            raise
        return mux

    def _output(self, job: PublishJob, stack: ExitStack) -> Output:
        match job.kind:
            case "hls":
                folder = hls_folder(job.url)
                folder.check()
                number = folder.new_number()
                folder.clean(keep_listed=job.is_again)
                return hls_output(folder, number, job.segment_s, job.segments, is_again=job.is_again)
            case "whip":
                return whip_output(job.url, stack.enter_context(certificate_file()), job.timeout_s)
            case "srt":
                bridge = self._bridge = stack.enter_context(srt_output(job.url))
                if not bridge.wait_connected(job.timeout_s):
                    raise SinkError("no SRT connection: nobody answers there, or the passphrase is another one")
                return network_output("srt", bridge.url, job.timeout_s)
        return network_output(job.kind, job.url, job.timeout_s)


def _next(connection: Duplex) -> LiveVideo | LiveAudio | None:
    """The parent's next packet; None at the end, which comes too when the parent closes the pipe."""
    try:
        message = connection.recv()
    except (EOFError, ConnectionError):
        return None
    packet: LiveVideo | LiveAudio | None = message[1] if message[0] == "packet" else None
    return packet


def _sound(job: PublishJob) -> AudioOut | None:
    """What makes the sound anew, where the target does not take it as it is."""
    audio = job.audio
    if audio is None:
        return None
    codec = target_codec(job.kind, audio, job.audio_mode)
    if job.kind == "whip":
        if codec is None and (audio.rate, audio.channels) != _STEREO_48K:
            codec = "opus"
        return None if codec is None else AudioOut(audio, codec, 48000, "stereo")
    if codec is None and not can_describe(audio):
        codec = "aac"
    return None if codec is None else AudioOut(audio, codec)


def _made(packet: LiveVideo | LiveAudio, sound: AudioOut | None) -> Iterator[LiveVideo | LiveAudio]:
    if isinstance(packet, LiveAudio) and sound is not None:
        yield from sound.put(packet)
    else:
        yield packet


def plain_reason(error: Exception, kind: TargetKind) -> str:
    """What went wrong, in the words of people."""
    number = getattr(error, "errno", None)
    if isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)):
        return "wrong user or password"
    if isinstance(error, av.error.HTTPNotFoundError):
        return "the server knows no such path"
    if isinstance(error, (av.error.HTTPOtherClientError, av.error.HTTPServerError)):
        return "the server refuses this stream"
    if number == errno.ECONNREFUSED:
        return "connection refused"
    if number in (errno.EPIPE, errno.ECONNRESET):
        return "the connection was closed by the other side"
    if number in (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"no answer: {os.strerror(number)}"
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "no space left on the device" if number != errno.EFBIG else "the file is as large as it may be"
    if isinstance(error, StreamSRError):
        return str(error)
    if kind in ("rtsp", "rtmp", "whip") and isinstance(error, av.error.InvalidDataError):
        return "no answer that can be understood"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
