"""One open output of a live stream: which muxer each kind of target has, with what options, and packets into it.

Times are those of the stream less that of the first picture: every output begins at 0, with a key frame. Imports av,
never torch."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import av
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from streamsr.live.address import TargetKind
from streamsr.live.hls_folder import HlsFolder
from streamsr.live_frames import OUT_TIME_BASE, AudioFormat, LiveAudio, LiveVideo
from streamsr.media.audio_track import add_audio_track
from streamsr.media.encode import add_encoded_stream

UDP_BYTES = 1316
"""Seven MPEG-TS packets: the most that fits an Ethernet frame."""
# One packet is enough for the order between sound and pictures; FFmpeg's default waits ten seconds for missing sound.
_COMMON = {"max_interleave_delta": "1", "flush_packets": "1"}
_MPEGTS = {"pes_payload_size": "0"}  # else sound is gathered to 3 kB: a fifth of a second
_MP4 = {
    "movflags": "frag_keyframe+empty_moov+delay_moov+default_base_moof",
    "frag_duration": "500000",  # so much is lost when the machine loses power
    "movie_timescale": "90000",
}
_MATROSKA = {"cluster_time_limit": "500"}
_FILE_MUXERS = {".mp4": ("mp4", _MP4), ".mkv": ("matroska", _MATROSKA), ".ts": ("mpegts", _MPEGTS)}


@dataclass(frozen=True, slots=True)
class Output:
    """What FFmpeg opens: `url`, by which muxer, with which options."""

    url: str
    muxer: str
    options: dict[str, str]


def network_output(kind: TargetKind, url: str, timeout_s: float) -> Output:
    """The output of an rtsp, rtmp, udp target, or of the local end of an srt one. `timeout_s` bounds single answers of
    the server while it is opened; whole hangs are for the watchdog."""
    match kind:
        case "rtsp":
            return Output(url, "rtsp", {"rtsp_transport": "tcp", "timeout": str(round(timeout_s * 1e6))})
        case "rtmp":
            return Output(url, "flv", {"flvflags": "no_duration_filesize"})
        case "srt":
            return Output(url, "mpegts", dict(_MPEGTS))
        case "udp":
            return Output(with_packet_size(url), "mpegts", dict(_MPEGTS))
        case _:
            raise AssertionError(f"{kind} is no plain network target")


def whip_output(url: str, certificate: str, timeout_s: float) -> Output:
    """`certificate`: path of a PEM file with key and certificate. A user or password in `url` is sent as the bearer
    token."""
    parts = urlsplit(url)
    token = parts.password or parts.username or ""
    options = {
        "strict": "experimental",  # FFmpeg calls its WHIP muxer so
        "handshake_timeout": str(round(timeout_s * 1000)),
        "cert_file": certificate,
        "key_file": certificate,
    }
    if token:
        options["authorization"] = token
    return Output(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), "whip", options)


def hls_output(folder: HlsFolder, number: int, segment_s: float, segments: int, *, is_again: bool) -> Output:
    """Segments of at least `segment_s` seconds, cut at key frames, of which the playlist names the last `segments`.
    `number`: of the first of them, see `HlsFolder.new_number`."""
    flags = "delete_segments+independent_segments+program_date_time+temp_file"
    options = {
        "hls_time": f"{segment_s:g}",
        "hls_list_size": str(segments),
        "hls_segment_type": "fmp4",
        "hls_segment_filename": folder.segment_names(),
        "hls_fmp4_init_filename": folder.header_name(number),
        "start_number": str(number),
        "hls_flags": flags + "+discont_start" * is_again,
    }
    return Output(str(folder.playlist), "hls", options)


def file_output(path: str, suffix: str) -> Output:
    """A recording that is playable wherever it breaks off."""
    muxer, options = _FILE_MUXERS[suffix]
    return Output(path, muxer, dict(options))


def with_packet_size(url: str) -> str:
    """A udp:// address that fits networks, unless it says itself how large its packets are."""
    if "pkt_size=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}pkt_size={UDP_BYTES}"


class LiveMux:
    """Takes packets once `open` was called, which writes the header: on a network both may block for ever, and `open`
    may hold the interpreter's lock. So it belongs into a process of its own, under a watchdog.

    `template`: see `add_encoded_stream`. `audio`: the format of all audio packets. Everything raises av errors and
    ValueError."""

    def __init__(self, output: Output, template: bytes, audio: AudioFormat | None) -> None:
        self._start: int | None = None
        self._format = audio
        self._newest: dict[int, int] = {}
        options = _COMMON | output.options
        self._container = av.open(output.url, "w", format=output.muxer, container_options=options)
        with av.open(io.BytesIO(template)) as blank:
            wanted = blank.streams.video[0]
            self._video: VideoStream = add_encoded_stream(self._container, wanted)
            codec = wanted.codec_context.codec.canonical_name
        self._video.time_base = OUT_TIME_BASE
        if output.muxer in ("mp4", "hls") and codec == "hevc":
            self._video.codec_context.codec_tag = "hvc1"  # Safari and QuickTime play no hev1
        self._audio: AudioStream | None = None if audio is None else add_audio_track(self._container, audio)

    def open(self) -> None:
        self._container.start_encoding()

    def write(self, packet: LiveVideo | LiveAudio) -> bool:
        """Whether the packet was for this output: nothing is before its first key frame, nor twice at one time."""
        if isinstance(packet, LiveVideo):
            return self._write_video(packet)
        return self._write_audio(packet)

    def close(self) -> None:
        """Writes what belongs at the end. May raise, and block."""
        self._container.close()

    def abandon(self) -> None:
        """Closes as far as that goes."""
        with suppress(av.FFmpegError, OSError, ValueError):
            self._container.close()

    def _write_video(self, packet: LiveVideo) -> bool:
        if self._start is None:
            if not packet.is_keyframe:
                return False
            self._start = packet.dts
        made = _packet(packet.data, packet.pts - self._start, packet.dts - self._start, OUT_TIME_BASE)
        made.is_keyframe = packet.is_keyframe
        return self._mux(made, self._video)

    def _write_audio(self, packet: LiveAudio) -> bool:
        if self._audio is None or self._format is None or self._start is None:
            return False
        rate = self._format.rate
        time = round((packet.time_s - float(self._start * OUT_TIME_BASE)) * rate)
        if time < 0:
            return False
        made = _packet(packet.data, time, time, Fraction(1, rate))
        made.duration = round(packet.duration_s * rate)
        made.is_keyframe = True
        return self._mux(made, self._audio)

    def _mux(self, packet: av.Packet[Any], stream: VideoStream | AudioStream) -> bool:
        assert packet.dts is not None
        if packet.dts <= self._newest.get(stream.index, packet.dts - 1):
            return False
        self._newest[stream.index] = packet.dts
        packet.stream = stream
        self._container.mux_one(packet)
        return True


def _packet(data: bytes, pts: int, dts: int, time_base: Fraction) -> av.Packet[Any]:
    packet: av.Packet[Any] = av.Packet(data)
    packet.time_base = time_base
    packet.pts, packet.dts = pts, dts
    return packet
