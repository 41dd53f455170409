"""Packets of one stream decoded to the last picture, past whatever is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
from av.stream import Discard

from streamsr.errors import SourceError
from streamsr.media.damage import Damage


def only(container: Any, stream: Any) -> None:
    """Tells the demuxer to skip all other tracks: faster, and a track cut off early does not end this one."""
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all


def decoded(
    container: Any, stream: Any, damage: Damage, packets: Iterator[Any] | None = None
) -> Iterator[av.VideoFrame]:
    """Every picture the decoder gives, in its order; errors are counted in `damage`, not raised.

    `container`: av InputContainer, positioned anywhere; `stream`: one of its video streams; `packets`: those of the
    stream from there on, where somebody has begun to read them. Raises SourceError where the packets are encrypted."""
    sent = shown = None
    for packet in packets or packets_of(container, stream, damage):
        if packet.has_sidedata("encryption_info"):
            raise SourceError(
                "the video is encrypted (DRM)", where=container.name, remedy="Only its owner can give a clear copy."
            )
        if packet.pts is not None and not packet.is_discard:
            sent = packet.pts if sent is None else max(sent, packet.pts)
        for picture in _decode(stream.codec_context, packet, damage):
            shown = picture.pts if shown is None else max(shown, picture.pts or shown)
            yield picture
    for picture in _decode(stream.codec_context, None, damage):
        shown = picture.pts if shown is None else max(shown, picture.pts or shown)
        yield picture
    if sent is not None and shown is not None and sent > shown:
        yield from _tail(container.name, stream.index, shown)


def _tail(path: str, index: int, shown: int) -> Iterator[av.VideoFrame]:
    """Pictures after `shown`, decoded again without frame threads.

    PyAV stops draining at the first error, and with frame threads the pictures behind it are lost."""
    try:
        with av.open(path, timeout=60.0) as container:
            stream: Any = container.streams[index]
            stream.thread_type = "SLICE"
            only(container, stream)
            container.seek(shown, stream=stream, backward=True)
            for packet in packets_of(container, stream, ignored := Damage()):
                for picture in _decode(stream.codec_context, packet, ignored):
                    if picture.pts is not None and picture.pts > shown:
                        yield picture
            for picture in _decode(stream.codec_context, None, ignored):
                if picture.pts is not None and picture.pts > shown:
                    yield picture
    except av.FFmpegError:
        return  # what the first pass gave stands


def _decode(context: Any, packet: Any | None, damage: Damage) -> list[av.VideoFrame]:
    """Pictures that come out for a packet (None: the last ones)."""
    corrupt = packet is not None and packet.is_corrupt
    if corrupt:
        damage.bad_packets += 1
        damage.blame("a packet is incomplete")
    try:
        pictures: list[av.VideoFrame] = context.decode(packet)
        return pictures
    except av.EOFError:
        return []
    except av.FFmpegError as error:
        damage.bad_packets += not corrupt
        damage.blame(plain(error))
        return []


def packets_of(container: Any, stream: Any, damage: Damage) -> Iterator[Any]:
    """The packets of a stream that hold something, to its end or to the first error, which `damage` notes."""
    try:
        for packet in container.demux(stream):
            if packet.size:  # the empty one at the end would flush; an empty one in the middle (AVI) must not
                yield packet
    except av.FFmpegError as error:
        damage.cut_short = True
        damage.blame(plain(error))


def plain(error: BaseException) -> str:
    """FFmpeg's own sentence, without number, path and function name."""
    return str(getattr(error, "strerror", None) or error)
