"""The tracks beside the pictures of a test clip: sound, subtitles, cover art."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.stream import Disposition


@dataclass(frozen=True, kw_only=True)
class AudioTrack:
    """A sine tone, each channel a fifth above the one before it."""

    codec: str = "aac"
    sample_rate: int = 48000
    layout: str = "stereo"
    frequency_hz: float = 440.0
    seconds: float | None = None
    """Length; default: that of the pictures."""
    start_s: float = 0.0
    language: str = ""
    title: str = ""
    disposition: Disposition | None = None
    options: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class SubtitleTrack:
    """Lines of text as (start, end, text), seconds. codec: "subrip" (Matroska), "mov_text" (MP4), "ass", "webvtt"."""

    lines: Sequence[tuple[float, float, str]] = ((0.0, 0.2, "one"), (0.25, 0.45, "two"))
    codec: str = "subrip"
    language: str = ""
    title: str = ""
    disposition: Disposition | None = None


def write_audio(output: OutputContainer, track: AudioTrack, seconds: float) -> list[Any]:
    """Adds the stream and returns its packets, not yet muxed."""
    stream: Any = output.add_stream(track.codec, rate=track.sample_rate, layout=track.layout)
    _describe(stream, track)
    context = stream.codec_context
    context.options = dict(track.options)
    sample_format = context.format.name if context.format else "fltp"
    total = round((track.seconds or seconds) * track.sample_rate)
    time = np.arange(total) / track.sample_rate
    num_channels = av.AudioLayout(track.layout).nb_channels
    tones = [np.sin(2 * np.pi * track.frequency_hz * 1.5**channel * time) for channel in range(num_channels)]
    samples = (0.3 * np.stack(tones)).astype(np.float32)
    resampler = av.AudioResampler(sample_format, track.layout, track.sample_rate)
    fifo = av.AudioFifo()
    packets: list[Any] = []
    offset = round(track.start_s * track.sample_rate)
    for at in range(0, total, 4096):
        chunk = np.ascontiguousarray(samples[:, at : at + 4096])
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout=track.layout)
        frame.sample_rate, frame.pts, frame.time_base = track.sample_rate, at, Fraction(1, track.sample_rate)
        for resampled in resampler.resample(frame):
            fifo.write(resampled)
    if not context.is_open:
        context.open()
    size = context.frame_size or 1024
    while fifo.samples:
        block = fifo.read(size, partial=fifo.samples < size)
        assert block is not None
        block.pts = (block.pts or 0) + offset
        packets += stream.encode(block)
    packets += stream.encode(None)
    return packets


def write_subtitles(output: OutputContainer, track: SubtitleTrack, beside: Path) -> list[Any]:
    """Adds the stream and returns its packets, not yet muxed. Uses a text file beside the clip for a moment."""
    text = beside.with_name(f"{beside.stem}-{len(output.streams)}.srt")
    text.write_text(
        "".join(f"{n}\n{_clock(a)} --> {_clock(b)}\n{line}\n\n" for n, (a, b, line) in enumerate(track.lines, 1)),
        "utf-8",
    )
    packets: list[Any] = []
    with av.open(str(text)) as source:
        template: Any = source.streams.subtitles[0]
        if track.codec == "subrip":
            stream: Any = output.add_stream_from_template(template)
            _describe(stream, track)
            for packet in source.demux(template):
                if packet.dts is not None:
                    packet.stream = stream
                    packets.append(packet)
        else:
            stream = output.add_stream(track.codec)
            _describe(stream, track)
            decoder, encoder = template.codec_context, stream.codec_context
            decoder.open()
            encoder.subtitle_header = decoder.subtitle_header
            encoder.time_base = Fraction(1, 1000)
            for packet in source.demux(template):
                subtitle = decoder.decode2(packet) if packet.size else None
                if subtitle is None:
                    continue
                coded = encoder.encode_subtitle(subtitle)
                coded.pts, coded.dts, coded.duration = packet.pts, packet.dts, packet.duration
                coded.time_base, coded.stream = packet.time_base, stream
                packets.append(coded)
    text.unlink()
    return packets


def write_cover(output: OutputContainer) -> list[Any]:
    """A 32x32 PNG marked as attached picture; in Matroska an attachment named cover.png. Returns packets to mux."""
    if "matroska" in output.format.name:
        output.add_attachment("cover.png", "image/png", cover_bytes())
        return []
    stream: Any = output.add_stream("png")
    stream.width, stream.height, stream.pix_fmt = 32, 32, "rgb24"
    stream.disposition = Disposition.attached_pic
    return list(stream.encode(_cover_picture())) + list(stream.encode(None))


def cover_bytes() -> bytes:
    """The cover as a PNG file."""
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 32, 32, "rgb24", Fraction(1)
    return b"".join(bytes(packet) for packet in encoder.encode(_cover_picture()) + encoder.encode(None))


def _cover_picture() -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((32, 32, 3), 200, np.uint8), format="rgb24")


def _describe(stream: Any, track: AudioTrack | SubtitleTrack) -> None:
    for key, value in (("language", track.language), ("title", track.title)):
        if value:
            stream.metadata[key] = value
    if track.disposition is not None:
        stream.disposition = track.disposition


def _clock(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"
