"""The output file: the upscaled picture between the packets of everything else that the source holds."""

from __future__ import annotations

import heapq
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from streamsr.config import OutputConfig
from streamsr.errors import ConfigError, Interrupted, SinkError, SourceError, StreamSRError, as_sink_error
from streamsr.frames import Packet, VideoInfo
from streamsr.media.containers import container_of
from streamsr.media.encode import add_encoded_stream
from streamsr.media.streams import StreamFate, decide
from streamsr.media.tags import chapters_within, foreign_tags, kept_tags
from streamsr.media.target import TargetFile
from streamsr.media.tracks import OtherTracks, seek_before
from streamsr.media.verify import Expectation, Verdict, verify
from streamsr.runtime.meters import pulse

READ_TIMEOUT_S = 60.0
PICTURES = -2  # stands for the index of a stream of the source, which the pictures do not come from
CLOSE_S = 3600.0
"""Moving the header of a large MP4 to its front rewrites the file in one call that cannot tell how far it is."""
INTERLEAVE_US = 1_000_000
"""How much of one stream FFmpeg may hold back while it waits for another (its default of 10 s is a lot of 4K)."""


def open_sink(
    target: Path,
    source_path: str,
    info: VideoInfo,
    cfg: OutputConfig,
    *,
    origin: Fraction,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Sink:
    """Claims `target`; nothing appears there before the with-block ends cleanly after `write`.

    `origin` is what is subtracted from all times of the source, in seconds. With `start_s` or `duration_s` only the
    packets between `origin` and `origin + duration_s` are kept. Raises ConfigError for an unknown suffix or a target
    that is the source, SinkError if the target exists and `cfg.overwrite` is not set, or cannot be written."""
    return Sink(target, source_path, info, cfg, origin=origin, start_s=start_s, duration_s=duration_s)


class Sink:
    """A context manager. After `write`: `.streams`, `.notices` and `.verdict` say what became of everything, and
    `.target_bytes` how large it is. `.is_stopped`: `end_with_video` was called."""

    def __init__(
        self,
        target: Path,
        source_path: str,
        info: VideoInfo,
        cfg: OutputConfig,
        *,
        origin: Fraction,
        start_s: float,
        duration_s: float | None,
    ) -> None:
        self.container = container_of(target)
        self.target = target
        self.target_bytes = 0
        self.is_stopped = False
        self.streams: list[StreamFate] = []
        self.notices: list[str] = []
        self.verdict: Verdict | None = None
        self._source_path, self._info, self._cfg = source_path, info, cfg
        self._origin, self._duration_s = origin, duration_s
        self._is_cut = start_s > 0 or duration_s is not None
        self._file = TargetFile(target, source_path, cfg.overwrite)

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.verdict is not None:
                self._file.commit()
        finally:
            self._file.discard()

    def end_with_video(self) -> None:
        """The job was asked to stop early: whatever is later than the last picture is left out. From any thread."""
        self.is_stopped = True

    def write(self, packets: Iterator[Packet], template: Callable[[], bytes]) -> None:
        """Writes the whole file and verifies it. `template` gives a small file with the stream that the packets belong
        to, see `Encoder.stream_template`; it is called once, after the first packet is there.

        packets: in decode order. Raises SourceError if there is none, SinkError if the file cannot be written,
        FrameMismatch if what was written is not what was given."""
        first = next(packets, None)
        if first is None and self.is_stopped:
            raise Interrupted(
                "stopped before the first picture", where=self._source_path, remedy="Nothing was written."
            )
        if first is None:
            raise SourceError("no picture came out of the video", where=self._source_path)
        blank = template()
        with self._open_source() as source:
            expectation = self._write(source, blank, first, packets)
        with self._writing():
            self.target_bytes = self._file.part.stat().st_size
            self.verdict = verify(self._file.part, expectation)
        self.notices += self.verdict.remarks

    def _open_source(self) -> InputContainer:
        try:
            return av.open(os.path.abspath(self._source_path), timeout=READ_TIMEOUT_S, metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SourceError(f"cannot be opened again: {reason}", where=self._source_path) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """What goes wrong inside is the output's fault."""
        try:
            yield
        except StreamSRError:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            raise as_sink_error(error, self._file.target) from error

    def _write(self, source: InputContainer, template: bytes, first: Packet, packets: Iterator[Packet]) -> Expectation:
        main = source.streams[self._info.stream_index]
        tags, video_tags = self._tags_of(source), self._tags_of(main)
        has_timecode = "timecode" in tags | video_tags
        others_of = [stream for stream in source.streams if stream is not main]
        fates = [decide(stream, self.container, self._cfg, has_timecode=has_timecode) for stream in others_of]
        has_cover = any(fate.kind == "cover" and fate.fate != "dropped" for fate in fates)
        output = self._open_output(tags, has_cover, first.time_base)
        expectation = Expectation(first.time_base)
        try:
            with self._writing():
                video = self._add_video(output, template, first.time_base)
                video.metadata.update(video_tags)
                video.disposition = main.disposition
                others = OtherTracks(
                    source,
                    output,
                    self.container,
                    fates,
                    origin=self._origin,
                    is_cut=self._is_cut,
                    duration_s=self._duration_s,
                )
                output.metadata.update(tags)
                output.set_chapters(chapters_within(source.chapters(), self._origin, self._duration_s))
                self._write_header(output)
            if self._is_cut:
                seek_before(source, main, self._origin)
            main.discard = Discard.all
            self._interleave(output, video, others, first, packets, expectation)
            with self._writing():
                pulse(CLOSE_S)
                output.close()
        except BaseException:
            self._abandon(output)
            raise
        self.streams = others.fates
        self.notices += others.notices
        expectation.others = others.expected()
        return expectation

    def _write_header(self, output: OutputContainer) -> None:
        try:
            output.start_encoding()
        except (av.error.ArgumentError, av.error.PatchWelcomeError) as error:
            what = f"{self.container.muxer} cannot hold these tracks: {error.strerror}"
            raise SinkError(what, where=str(self.target), remedy="Use an .mkv file.") from error

    def _abandon(self, output: OutputContainer) -> None:
        """Closes without completing: once its file is gone, FFmpeg cannot move a large file's header to the front."""
        self._file.discard()
        with suppress(av.FFmpegError, OSError, ValueError):
            output.close()

    def _tags_of(self, source: InputContainer | Stream) -> dict[str, str]:
        tags = kept_tags(source.metadata)
        if self._is_cut:
            tags.pop("timecode", None)  # it is that of the first picture of the whole
        return tags

    def _open_output(self, tags: dict[str, str], has_cover: bool, time_base: Fraction) -> OutputContainer:
        options = dict(self.container.options) | {"max_interleave_delta": str(INTERLEAVE_US)}
        if self.container.is_mov:
            options["movflags"] = "+faststart"
            # In these ticks MP4 says how late a track starts. FFmpeg's default of 1000 a second is too coarse.
            options["movie_timescale"] = str(time_base.denominator * -(-1000 // time_base.denominator))
            if foreign := foreign_tags(tags):
                if has_cover:  # which has its place in iTunes' list only
                    self.notices.append(f"tags that MP4 cannot keep beside a cover are dropped: {', '.join(foreign)}")
                else:
                    options["movflags"] += "+use_metadata_tags"
        return av.open(str(self._file.part), "w", format=self.container.muxer, container_options=options)

    def _add_video(self, output: OutputContainer, template: bytes, time_base: Fraction) -> VideoStream:
        with av.open(io.BytesIO(template)) as blank:
            wanted = blank.streams.video[0]
            codec = wanted.codec_context.codec.canonical_name
            try:
                if not self.container.may_hold_video(codec):
                    raise ValueError(f"{self.container.muxer} cannot hold {codec}")
                if wanted.sample_aspect_ratio is None:  # the encoder said nothing of it
                    video = output.add_stream_from_template(wanted, opaque=True)
                else:
                    video = add_encoded_stream(output, wanted)
            except ValueError as error:
                remedy = "Use an .mkv file, or another --codec."
                raise ConfigError(str(error), where=str(self.target), remedy=remedy) from error
        video.time_base = time_base
        if self.container.is_mov and codec == "hevc":
            video.codec_context.codec_tag = "hvc1"  # QuickTime does not play FFmpeg's default, hev1
        return video

    def _interleave(
        self,
        output: OutputContainer,
        video: VideoStream,
        others: OtherTracks,
        first: Packet,
        packets: Iterator[Packet],
        expectation: Expectation,
    ) -> None:
        """Merges by decode time. The other tracks are read only as far as the video has come."""

        def pictures() -> Iterator[tuple[Fraction, int, av.Packet[Any]]]:
            packet: Packet | None = first
            while packet is not None:
                expectation.pts.append(packet.pts)
                expectation.end = max(expectation.end, (packet.pts + packet.duration) * packet.time_base)
                yield packet.dts * packet.time_base, PICTURES, _av_packet(packet, video)
                packet = next(packets, None)
            others.video_end = expectation.end if self.is_stopped else None

        for _, index, packet in heapq.merge(pictures(), others.packets(), key=lambda entry: entry[0]):
            with self._writing():
                try:
                    output.mux_one(packet)
                except av.error.ArgumentError:
                    if index == PICTURES:
                        raise
                    others.refused(index)


def _av_packet(packet: Packet, stream: VideoStream) -> av.Packet[Any]:
    made: av.Packet[Any] = av.Packet(packet.data)
    made.time_base = packet.time_base
    made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
    made.is_keyframe = packet.is_keyframe
    made.stream = stream
    return made
