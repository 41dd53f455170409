"""Text subtitles from one format into another, event by event."""

from __future__ import annotations

from fractions import Fraction

import av
from av.container import OutputContainer
from av.packet import Packet
from av.subtitles.stream import SubtitleStream

_MS = Fraction(1, 1000)


def can_convert(stream: av.stream.Stream) -> bool:
    """Whether a decoder of this text exists."""
    return isinstance(stream, SubtitleStream) and stream.codec_context is not None


class SubtitleTranscoder:
    """Converts the packets of `source` for a new stream of codec `codec` in `output`. `.stream` is the new stream."""

    def __init__(self, source: SubtitleStream, output: OutputContainer, codec: str) -> None:
        self._decoder = source.codec_context
        self._decoder.open(strict=False)
        stream = output.add_stream(codec)
        assert isinstance(stream, SubtitleStream)
        self.stream, self._encoder = stream, stream.codec_context
        self._encoder.subtitle_header = self._decoder.subtitle_header  # an encoder of text does not open without
        self._encoder.time_base = _MS

    def take(self, packet: Packet[SubtitleStream]) -> list[Packet[SubtitleStream]]:
        """The packet in the new format, with the same times; nothing for an event without text."""
        subtitle = self._decoder.decode2(packet)
        if subtitle is None or len(subtitle) == 0:
            return []
        encoded: Packet[SubtitleStream] = self._encoder.encode_subtitle(subtitle)
        if encoded.size == 0:
            return []
        encoded.time_base = packet.time_base
        encoded.pts, encoded.dts, encoded.duration = packet.pts, packet.pts, packet.duration
        encoded.stream = self.stream
        return [encoded]

    def finish(self) -> list[Packet[SubtitleStream]]:
        return []
