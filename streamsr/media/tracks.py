"""The packets of everything but the upscaled picture, read from the source once more and moved to the output's time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Discard, Stream

from streamsr.media.audio import AudioTranscoder
from streamsr.media.containers import Container
from streamsr.media.streams import COVER_TYPES, StreamFate, cover_bytes
from streamsr.media.subtitles import SubtitleTranscoder
from streamsr.media.tags import kept_tags
from streamsr.media.verify import ExpectedTrack

SUBTITLE_REACH_S = 15
"""A range is read from so much before its start, for subtitles that are still shown then."""
INTERLEAVING_S = 10
"""Streams of a file may run apart by so much: reading goes on for so long after the end of a range."""
READ_ATTEMPTS = 20


class Converter(Protocol):
    def take(self, packet: Packet[Any], /) -> list[Packet[Any]]: ...
    def finish(self) -> list[Packet[Any]]: ...


@dataclass(slots=True)
class Track:
    """A stream on its way into the output. `origin`: what its source's times are early by, in ticks of `time_base`."""

    fate: StreamFate
    output: Stream
    origin: int
    converter: Converter | None = None
    last_dts: int | None = None
    first_s: Fraction | None = None
    end_s: Fraction = Fraction(0)


class OtherTracks:
    """Adds a stream to `output` for each of `fates` that is kept. `.packets()` yields (decode time in seconds, source
    index, packet ready for the muxer), in the source's order; what cannot be read or mended is counted in `.fates`.

    `video_end` (seconds), set when the video is over, ends the other tracks there as well."""

    def __init__(
        self,
        source: InputContainer,
        output: OutputContainer,
        container: Container,
        fates: list[StreamFate],
        *,
        origin: Fraction,
        is_cut: bool,
        duration_s: float | None,
    ) -> None:
        self.video_end: Fraction | None = None
        self.damage = ""
        self._source, self._output, self._container = source, output, container
        self._origin, self._is_cut = origin, is_cut
        self._duration = None if duration_s is None else Fraction(duration_s)
        self._fates = {fate.index: fate for fate in fates}
        self._tracks: dict[int, Track] = {}
        self._covers: list[Packet[Any]] = []
        # Readers of MP4 do not count a cover as a track, so it comes last: indices stay the same.
        for fate in sorted(fates, key=lambda fate: fate.kind in ("cover", "attachment")):
            stream = source.streams[fate.index]
            if fate.fate == "dropped" or fate.kind in ("chapters", "timecode"):
                stream.discard = Discard.all
            elif isinstance(stream, AttachmentStream):
                self._attach(stream.metadata.get("filename", "attachment"), stream, stream.data, stream.mimetype)
            elif fate.kind == "cover":
                self._add_cover(stream, fate)
            else:
                self._add(stream, fate)

    @property
    def fates(self) -> list[StreamFate]:
        """The fate of every stream but the main one, by index, with the counts so far."""
        now = self._fates | {index: track.fate for index, track in self._tracks.items()}
        return [now[index] for index in sorted(now)]

    @property
    def notices(self) -> list[str]:
        """Lines for the user: what was not simply copied, and why."""
        return [line for line in (*(fate.notice for fate in self.fates), self.damage) if line]

    def expected(self) -> list[ExpectedTrack]:
        """What must be found in the output."""
        return [
            ExpectedTrack(track.output.index, str(track.fate), track.fate.packets, track.first_s)
            for track in self._tracks.values()
            if track.fate.packets
        ]

    def packets(self) -> Iterator[tuple[Fraction, int, Packet[Any]]]:
        for cover in self._covers:
            yield Fraction(-1), -1, cover
        if not self._tracks:
            return
        for packet in self._read():
            track = self._tracks[packet.stream.index]
            if self._move(track, packet) and self._is_wanted(track, packet):
                produced = track.converter.take(packet) if track.converter else [packet]
                yield from self._deliver(track, produced)
        for track in self._tracks.values():
            if track.converter:
                yield from self._deliver(track, track.converter.finish())
                damaged = getattr(track.converter, "damaged", 0)
                track.fate = replace(track.fate, skipped=track.fate.skipped + damaged)

    def refused(self, index: int) -> None:
        """The muxer did not take the last packet of source stream `index`."""
        fate = self._tracks[index].fate
        self._tracks[index].fate = replace(fate, packets=fate.packets - 1, skipped=fate.skipped + 1)

    def _add(self, stream: Stream, fate: StreamFate) -> None:
        assert stream.time_base is not None
        track = Track(fate, stream, round(self._origin / stream.time_base))
        if fate.fate == "copied":
            track.output = self._output.add_stream_from_template(stream, opaque=True)
            if self._container.is_mov and fate.codec == "hevc":
                track.output.codec_context.codec_tag = "hvc1"
        elif fate.kind == "audio":
            duration_s = None if self._duration is None else float(self._duration)
            audio = AudioTranscoder(stream, self._output, self._container, duration_s)  # type: ignore[arg-type] # its kind says it
            track.converter, track.output = audio, audio.stream
            track.fate = replace(fate, reason=f"to {audio.format}, {fate.reason}")
        else:
            assert self._container.text_encoder is not None
            text = SubtitleTranscoder(stream, self._output, self._container.text_encoder)  # type: ignore[arg-type] # the same
            track.converter, track.output = text, text.stream
        track.output.metadata.update(kept_tags(stream.metadata))
        track.output.disposition = stream.disposition
        self._tracks[fate.index] = track

    def _add_cover(self, stream: Stream, fate: StreamFate) -> None:
        picture = cover_bytes(self._source, stream)
        if not picture:
            self._fates[fate.index] = replace(fate, fate="dropped", reason="it is empty")
            return
        self._fates[fate.index] = replace(fate, packets=1, bytes=len(picture))
        suffix, mimetype = COVER_TYPES[fate.codec]
        if self._container.keeps_attachments:
            self._attach(stream.metadata.get("filename", f"cover.{suffix}"), stream, picture, mimetype)
            return
        added = self._output.add_stream_from_template(stream, opaque=True)
        added.metadata.update(kept_tags(stream.metadata))
        added.disposition = stream.disposition
        packet: Packet[Any] = Packet(picture)
        packet.stream, packet.time_base = added, Fraction(1, 90_000)
        packet.pts = packet.dts = 0
        packet.is_keyframe = True
        self._covers.append(packet)

    def _attach(self, name: str, stream: Stream, data: bytes, mimetype: str | None) -> None:
        added = self._output.add_attachment(name, mimetype or "application/octet-stream", data)
        added.metadata.update({key: value for key, value in stream.metadata.items() if key not in added.metadata})

    def _read(self) -> Iterator[Packet[Any]]:
        """The packets of the kept streams; a place that cannot be read is passed over."""
        wanted = [stream for stream in self._source.streams if stream.index in self._tracks]
        attempts = READ_ATTEMPTS
        while attempts:
            try:
                for packet in self._source.demux(wanted):
                    if packet.size == 0 and packet.dts is None:
                        continue  # the demuxer's sign to drain decoders
                    attempts = READ_ATTEMPTS
                    if self._is_over(packet):
                        return
                    yield packet
                return
            except (av.FFmpegError, OSError, ValueError) as error:
                attempts -= 1
                self.damage = f"the source is damaged: {getattr(error, 'strerror', None) or error}"

    def _is_over(self, packet: Packet[Any]) -> bool:
        ends = [end for end in (self._duration, self.video_end) if end is not None]
        if not ends or packet.dts is None:
            return False
        return (packet.dts * packet.time_base) - self._origin > min(ends) + INTERLEAVING_S

    def _move(self, track: Track, packet: Packet[Any]) -> bool:
        """Moves `packet` to the output's time and mends its stamps; False if it has none and none can be found."""
        fate = track.fate
        dts = packet.pts if packet.dts is None and fate.kind != "video" else packet.dts
        if dts is None:
            track.fate = replace(fate, skipped=fate.skipped + 1)
            return False
        pts = (dts if packet.pts is None else packet.pts) - track.origin
        dts -= track.origin
        if fate.kind != "video":
            dts = pts  # in audio, text and data nothing is reordered
        if track.last_dts is not None and dts <= track.last_dts and not self._may_tie(track, dts):
            dts = track.last_dts + 1
            pts = max(pts, dts)
            track.fate = replace(fate, repaired=fate.repaired + 1)
        track.last_dts = dts
        packet.pts, packet.dts = pts, dts
        return True

    def _may_tie(self, track: Track, dts: int) -> bool:
        return dts == track.last_dts and (track.converter is not None or self._container.muxer in ("matroska", "webm"))

    def _is_wanted(self, track: Track, packet: Packet[Any]) -> bool:
        """Whether the packet lies in the range. A subtitle across its start is cut; audio to be decoded stays whole."""
        assert packet.pts is not None
        start, length = packet.pts * packet.time_base, (packet.duration or 0) * packet.time_base
        ends = [end for end in (self._duration, self.video_end) if end is not None]
        if ends and start >= min(ends):
            return False
        if not self._is_cut or start >= 0:
            return True
        if track.fate.kind == "audio":
            return track.converter is not None and start > -1
        if track.fate.kind == "subtitle" and start + length > 0:
            packet.duration = round((start + length) / packet.time_base)
            packet.pts = packet.dts = 0
            return True
        return False

    def _deliver(self, track: Track, packets: list[Packet[Any]]) -> Iterator[tuple[Fraction, int, Packet[Any]]]:
        for packet in packets:
            packet.stream = track.output
            assert packet.pts is not None
            assert packet.dts is not None
            if track.first_s is None:
                track.first_s = packet.pts * packet.time_base
            fate = track.fate
            track.fate = replace(fate, packets=fate.packets + 1, bytes=fate.bytes + packet.size)
            yield packet.dts * packet.time_base, fate.index, packet


def seek_before(source: InputContainer, main: Stream, origin: Fraction) -> None:
    """Goes to where the subtitles of `origin` (seconds) may begin; stays at the beginning if the file cannot seek."""
    early = origin - SUBTITLE_REACH_S
    if early > 0 and main.time_base is not None:
        with suppress(av.FFmpegError, OSError, ValueError):
            source.seek(round(early / main.time_base), stream=main)
