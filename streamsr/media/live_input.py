"""A live source opened: how FFmpeg is asked for each kind, and what its errors mean. Used in the ingest process."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import av

from streamsr.errors import SourceError
from streamsr.live.address import Secrets, SourceAddress, SourceKind
from streamsr.media.decode import plain
from streamsr.media.probe import check_file, choose_stream, unreadable

NETWORK: tuple[SourceKind, ...] = ("rtsp", "rtmp", "udp", "srt", "http")
BIG_PIXELS = 1280 * 720
Try = tuple[str, str | None, dict[str, str]]
"""What av.open is called with: url, format (None: to be found out), options."""


@dataclass(frozen=True, slots=True)
class InputSettings:
    """Of IngestConfig what the ingest process needs, which does without pydantic. `may_wait`: nothing is dropped,
    the source waits for a free slot."""

    source: SourceAddress
    transport: Literal["auto", "tcp", "udp"] = "tcp"
    open_timeout_s: float = 10.0
    stall_s: float = 10.0
    loop: bool = False
    size: str | None = None
    rate: float | None = None
    may_wait: bool = False


@dataclass(frozen=True, slots=True)
class LiveInput:
    """An open source. `has_end`: its end is the end, and no disconnection. `is_paced`: it comes as fast as it is read,
    or in bursts, and is to be slowed down to its own timestamps."""

    container: Any
    video: Any
    audio: Any | None
    has_end: bool
    is_paced: bool


def open_live(settings: InputSettings) -> LiveInput:
    """Blocks, at most about twice `open_timeout_s` for the network. Raises SourceError with a remedy, masked."""
    source = settings.source
    if source.kind == "file":
        check_file(source.url)
    started = time.monotonic()
    container = _open_first(settings)
    try:
        video = choose_stream(container, source.masked)
        audio = _audio_of(container)
        _set_threads(video)
        for stream in container.streams:
            if stream is not video and stream is not audio:
                stream.discard = av.stream.Discard.all
    except SourceError as error:
        container.close()
        if source.kind == "file":
            raise
        remedy = "Choose a stream with pictures in it, in a codec that FFmpeg decodes."
        raise SourceError(error.what, where=error.where, remedy=remedy) from error
    except av.FFmpegError as error:
        container.close()
        raise explained(error, settings, time.monotonic() - started) from error
    is_file = source.kind in ("file", "lavfi") or (source.kind == "http" and bool(container.duration))
    return LiveInput(container, video, audio, is_file, is_file or "hls" in container.format.name)


def _open_first(settings: InputSettings) -> Any:
    """The first of the ways to ask for a source that works; the error is that of the first."""
    first: SourceError | None = None
    for url, format_, options in ways_of(settings):
        started = time.monotonic()
        try:
            return av.open(
                url,
                "r",
                format=format_,
                options=options,
                timeout=(settings.open_timeout_s, settings.stall_s),
                metadata_errors="replace",
            )
        except (av.FFmpegError, ValueError, OverflowError) as error:
            failure = explained(error, settings, time.monotonic() - started)
            first = first or failure
            if isinstance(error, av.HTTPUnauthorizedError | av.HTTPNotFoundError | av.ConnectionRefusedError):
                break
    assert first is not None
    raise first


def ways_of(settings: InputSettings) -> Iterator[Try]:
    """How FFmpeg may be asked for the source, the best first. Raises SourceError where this system has no way."""
    url = settings.source.url
    # Long enough to meet the first picture and the first sound; the packets read meanwhile are not lost.
    patient = {"analyzeduration": "1000000"}
    match settings.source.kind:
        case "rtsp":
            for transport in ("tcp", "udp") if settings.transport == "auto" else (settings.transport,):
                yield url, "rtsp", {"rtsp_transport": transport, "analyzeduration": "300000"}
        case "rtmp":
            yield url, None, {"rtmp_live": "live", **patient}
        case "udp":
            receive = {"fifo_size": "50000", "overrun_nonfatal": "1", "buffer_size": "1048576"}
            yield url, "mpegts", {**receive, **patient}
        case "http":
            yield url, None, patient
        case "camera":
            yield from _camera_ways(settings)
        case "screen":
            yield _screen_way(settings)
        case "lavfi":
            yield url, "lavfi", {}
        case "file":
            yield url, None, {}
        case kind:
            raise AssertionError(f"{kind} is bridged before it is opened")


def _camera_ways(settings: InputSettings) -> Iterator[Try]:
    name = settings.source.url.removeprefix("camera:")
    wanted = {"video_size": settings.size} if settings.size else {}
    rate = {"framerate": f"{settings.rate:g}"} if settings.rate else {}
    if sys.platform == "darwin":
        yield f"{name}:none", "avfoundation", {**wanted, "framerate": "30", **rate}
    elif sys.platform == "win32":
        if name.isdigit():
            raise SourceError("cameras have no numbers here", where=name, remedy="Write camera:NAME of the camera.")
        yield f"video={name}", "dshow", {**wanted, **rate}
    else:
        device = f"/dev/video{name}" if name.isdigit() else name
        if settings.size and _pixels(settings.size) >= BIG_PIXELS:
            # USB 2 brings large raw pictures a few times a second only; most cameras also compress.
            yield device, "v4l2", {**wanted, **rate, "input_format": "mjpeg"}
        yield device, "v4l2", {**wanted, **rate}


def _screen_way(settings: InputSettings) -> Try:
    place = settings.source.url.removeprefix("screen:")
    options = {"framerate": f"{settings.rate or 25:g}"} | ({"video_size": settings.size} if settings.size else {})
    if sys.platform == "darwin":
        return "Capture screen 0:none", "avfoundation", options
    if sys.platform == "win32":
        return "desktop", "gdigrab", options
    if not place.startswith(":"):
        display = os.environ.get("DISPLAY", "")
        if not display:
            raise _no_display(settings)
        place = display + place
    return place, "x11grab", options


def _audio_of(container: Any) -> Any | None:
    """FFmpeg's choice, which is none as long as no sound has come; then the first track that is announced."""
    tracks = [stream for stream in container.streams.audio if stream.codec_context is not None]
    best = container.streams.best("audio")
    return best if best in tracks else next(iter(tracks), None)


def _set_threads(video: Any) -> None:
    """Frame threads hold a picture back each, so they are for pictures that one core cannot decode in time: most
    cameras write one slice per picture, which slice threads cannot share. Not on two cores: models want one."""
    context, cores = video.codec_context, os.cpu_count() or 1
    is_large = context.width * context.height >= BIG_PIXELS
    if is_large and cores > 2:
        video.thread_type, context.thread_count = "FRAME", min(3, cores - 1)
    else:
        video.thread_type = "SLICE"


def _pixels(size: str) -> int:
    width, _, height = size.lower().partition("x")
    return int(width) * int(height) if width.isdigit() and height.isdigit() else 0


def explained(error: Exception, settings: InputSettings, seconds: float) -> SourceError:
    """What kept a source from being opened, in our words. `seconds`: how long it took to fail."""
    source = settings.source
    what, remedy = _words(error, settings, seconds)
    return SourceError(Secrets(source.url).hide(what), where=source.masked, remedy=remedy)


def _words(error: Exception, settings: InputSettings, seconds: float) -> tuple[str, str]:
    kind, code = settings.source.kind, getattr(error, "errno", None)
    if kind in NETWORK:
        return _network_words(error, settings, seconds)
    if kind == "camera":
        return _camera_words(code, plain(error))
    if kind == "screen":
        if code == errno.EINVAL:
            return "the part of the screen lies outside of it", "Lower --size or the offset after the +."
        failure = _no_display(settings)
        return failure.what, failure.remedy
    if kind == "lavfi":
        return f"FFmpeg does not take this filter graph: {plain(error)}", "Try it with ffplay -f lavfi first."
    failure = unreadable(error, settings.source.url)
    return failure.what, failure.remedy


def _network_words(error: Exception, settings: InputSettings, seconds: float) -> tuple[str, str]:
    """A silent peer is known by the time it took: FFmpeg says "invalid data" of it, or "exit requested"."""
    check = "Check address and port, and that the server runs."
    is_late = seconds >= 0.9 * settings.open_timeout_s
    match error:
        case av.HTTPUnauthorizedError():
            return "wrong user name or password", "Write them as rtsp://USER:PASSWORD@HOST/..., odd letters as %XX."
        case av.HTTPForbiddenError():
            return "the server does not allow it (403)", "Ask its owner for the right to read this stream."
        case av.HTTPNotFoundError():
            return "the server knows no such stream (404)", "Check the path of the address, and that the stream is on."
        case av.ConnectionRefusedError():
            return "connection refused", check
        case av.HTTPClientError() | av.HTTPServerError():
            return f"the server refuses: {plain(error)}", "Its own log says more; --set ingest.transport=udp may help."
        case av.OSError(errno=errno.EADDRINUSE):
            return "another program has this port", "End it, or send to another port."
        case _ if is_late:
            return f"no answer within {settings.open_timeout_s:g} s", f"{check} A slow one needs a longer open_timeout."
    host = urlsplit(settings.source.url).hostname or ""
    if host and not _is_known(host):
        return f"unknown host {host}", "Check the name, and the network of this machine."
    return f"cannot be opened: {plain(error)}", check


def _camera_words(code: int | None, words: str) -> tuple[str, str]:
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return "no such camera", "Plug it in; camera:0 is the first one. In a container it must be passed on."
    if code == errno.EBUSY:
        return "the camera is busy", "Close the other program that uses it."
    if code in (errno.EACCES, errno.EPERM):
        return (
            "may not use the camera",
            "Allow it for this user: on Linux the group video, on a Mac the privacy settings.",
        )
    if code == errno.EINVAL:
        return "the camera does not give such pictures", "Leave out --size and --rate, or choose others."
    return f"the camera cannot be opened: {words}", "Try it in another program."


def _no_display(settings: InputSettings) -> SourceError:
    return SourceError(
        "there is no display to look at",
        where=settings.source.masked,
        remedy="Set DISPLAY, or name one: screen::0. Under Wayland only X11 windows can be seen.",
    )


def _is_known(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return True
