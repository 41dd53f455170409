"""Feeds a sink with a source's own video packets, so that no encoder is needed, and reads files back."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from streamsr.config import OutputConfig
from streamsr.frames import ColorTags, Packet, PixelLayout, VideoInfo
from streamsr.media.sink import Sink, open_sink


@dataclass
class Feed:
    """The video of a file as an encoder would hand it over."""

    path: Path
    info: VideoInfo
    packets: list[Packet]

    def template(self) -> bytes:
        """A small file with the video's first packet, as an encoder's process makes it."""
        memory, first = io.BytesIO(), self.packets[0]
        with av.open(str(self.path)) as source, av.open(memory, "w", format="nut") as blank:
            stream = blank.add_stream_from_template(source.streams[self.info.stream_index], opaque=True)
            packet: Any = av.Packet(first.data)
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, first.time_base, 0, 0
            packet.is_keyframe = True
            blank.mux(packet)
        return memory.getvalue()

    def into(self, target: Path, *, duration_s: float | None = None, start_s: float = 0.0, **options: Any) -> Sink:
        """Writes `target` from all packets. Options: those of the output's config, and `origin`."""
        origin = options.pop("origin", Fraction(0))
        with open_sink(
            target,
            str(self.path),
            self.info,
            OutputConfig(**options),
            origin=origin,
            start_s=start_s,
            duration_s=duration_s,
        ) as sink:
            sink.write(self.moved(origin, duration_s), self.template)
        return sink

    def moved(self, origin: Fraction, duration_s: float | None = None) -> Iterator[Packet]:
        for packet in self.packets:
            shift = round(origin / packet.time_base)
            pts = packet.pts - shift
            if duration_s is None or 0 <= pts * packet.time_base < duration_s:
                yield Packet(
                    packet.data, pts, packet.dts - shift, packet.duration, packet.time_base, packet.is_keyframe
                )


def feed_of(path: Path) -> Feed:
    """All video packets of `path` that have times."""
    with av.open(str(path)) as source:
        video = source.streams.video[0]
        packets = [
            Packet(bytes(p), p.pts, p.dts, p.duration or 0, p.time_base, p.is_keyframe)
            for p in source.demux(video)
            if p.size and p.pts is not None and p.dts is not None
        ]
        assert video.time_base is not None
        info = VideoInfo(
            path=str(path),
            container=source.format.name,
            codec=video.codec_context.codec.canonical_name,
            width=video.width,
            height=video.height,
            layout=PixelLayout(),
            color=ColorTags(),
            time_base=video.time_base,
            rate=video.guessed_rate,
            duration_s=None,
            frames_from_header=None,
            stream_index=video.index,
        )
    return Feed(path, info, packets)


def payloads(path: Path, kind: str = "audio", track: int = 0) -> list[str]:
    """Hashes of a track's packets; headers of ADTS frames left out."""
    with av.open(str(path)) as container:
        stream = container.streams.get({kind: track})[0]
        return [hashlib.sha1(_bare(bytes(p), stream.name)).hexdigest() for p in container.demux(stream) if p.size]


def _bare(data: bytes, codec: str | None) -> bytes:
    is_adts = codec == "aac" and len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0
    return data if not is_adts else data[7 if data[1] & 1 else 9 :]


def times(path: Path, index: int) -> list[Fraction]:
    """Presentation times of the packets of a stream, in the order of the file, in seconds."""
    with av.open(str(path)) as container:
        return [p.pts * p.time_base for p in container.demux(container.streams[index]) if p.size and p.pts is not None]


def probe(path: Path) -> dict[str, Any]:
    """What ffprobe says; skips the test if there is none."""
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-show_chapters", "-of", "json", str(path)]
    found: dict[str, Any] = json.loads(_run(command))
    return found


def complaints(path: Path) -> str:
    """What ffmpeg prints while it decodes all of `path`: nothing, if all is well."""
    lines = _run(
        ["ffmpeg", "-v", "error", "-xerror", "-i", str(path), "-map", "0:v", "-map", "0:a?", "-f", "null", "-"]
    )
    # The null output counts in whole pictures, into which rounded times do not always fit: its words mean nothing.
    return "\n".join(line for line in lines.splitlines() if not line.startswith("[null @"))


def _run(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr
