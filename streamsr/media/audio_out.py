"""Live sound in another codec: decoded, kept in time, encoded again, packet by packet. Runs in publishers: no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame

from streamsr.errors import SinkError
from streamsr.live.address import TargetKind
from streamsr.live_frames import AudioFormat, LiveAudio

_FLV = frozenset({"aac", "mp3"})
_MP4 = frozenset({"aac", "mp3", "ac3", "opus"})
_TAKES: dict[TargetKind, frozenset[str]] = {
    "rtsp": frozenset({"aac", "opus", "pcm_mulaw", "pcm_alaw", "mp3"}),
    "rtmp": _FLV,
    "udp": frozenset({"aac", "mp3", "mp2", "ac3", "opus"}),
    "srt": frozenset({"aac", "mp3", "mp2", "ac3", "opus"}),
    "whip": frozenset({"opus"}),
    "hls": _MP4,
    "record": _MP4,
}
_FLV_MP3_RATES = (11025, 22050, 44100)
_ENCODERS = {"opus": "libopus", "mp3": "libmp3lame"}
"""Where the name of FFmpeg's encoder is not the codec's."""
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_RATES = {
    "aac": _AAC_RATES,
    "opus": (48000,),
    "mp3": _AAC_RATES,
    "mp2": (16000, 22050, 24000, 32000, 44100, 48000),
    "ac3": (32000, 44100, 48000),
    "eac3": (32000, 44100, 48000),
}
"""In Hz, that an encoder takes; any for a codec that is not listed."""
_BITS_PER_CHANNEL = {"aac": 80_000, "opus": 64_000, "mp3": 80_000, "mp2": 128_000, "ac3": 96_000, "eac3": 96_000}
_OPTIONS = {"mp3": {"reservoir": "0"}}  # each packet stands for itself, so that silence may come between any two
_STRETCH = "async=1000:min_hard_comp=0.1"
"""How sound is held to its times: by at most so many samples a second, and by silence or a cut from 0.1 s on."""
_PCM_PACKET_S = 0.02
_OVERLAP_S = 0.1


def target_codec(kind: TargetKind, source: AudioFormat, mode: str) -> str | None:
    """The codec that sound must be transcoded to for a target; None: its packets are copied. `mode`: copy or
    transcode."""
    takes = source.codec in _TAKES[kind]
    if source.codec == "opus":
        takes = takes and source.rate == 48000 and source.channels <= 2
    if kind == "rtmp":  # FLV has no word for more, and players are not told the right rate
        takes = takes and source.channels <= 2 and (source.codec != "mp3" or source.rate in _FLV_MP3_RATES)
    if takes and mode == "copy":
        return None
    return "opus" if kind == "whip" else "aac"


class AudioOut:
    """From packets of `source` to packets of `codec`. Times are kept: gaps of the input become silence, overlaps are
    cut, a clock that runs a little otherwise is followed. Not thread-safe. `damaged`: packets that did not decode.

    `rate`, `layout`: wanted ones, where the codec takes them; otherwise like the source, mono or stereo. Raises
    SinkError where FFmpeg knows no decoder or encoder."""

    def __init__(self, source: AudioFormat, codec: str, rate: int | None = None, layout: str | None = None) -> None:
        self.damaged = 0
        layout = layout or ("mono" if source.channels == 1 else "stereo")
        try:
            self._decoder = decoder_of(source)
            self._encoder = encoder_of(codec, rate_for(codec, rate or source.rate), layout)
        except (av.FFmpegError, ValueError) as error:
            raise SinkError(
                f"sound in {source.codec} cannot be made {codec}: {error}", remedy="Leave it out with --audio none."
            ) from error
        self.format = format_of(codec, self._encoder)
        self._packet_samples = self.format.frame_samples or round(_PCM_PACKET_S * self.format.rate)
        self._time_base = Fraction(1, source.rate)
        self._graph: av.filter.Graph | None = None
        self._graph_takes: tuple[str, str, int] | None = None
        self._next_s: float | None = None  # where the next decoded sample is expected
        self._arrived_s = 0.0

    def put(self, packet: LiveAudio) -> list[LiveAudio]:
        """What is ready after `packet`. The first begins a little before the first sound, but not before 0."""
        self._arrived_s = packet.arrived_s
        coded: Any = av.Packet(packet.data)
        coded.time_base = self._time_base
        coded.pts = coded.dts = round(packet.time_s / self._time_base)
        made: list[LiveAudio] = []
        try:
            for frame in self._decoder.decode(coded):
                made += self._take(frame)
        except (av.FFmpegError, ValueError):
            self.damaged += 1
        return made

    def flush(self) -> list[LiveAudio]:
        """The last packets. Nothing may be put any more."""
        made: list[LiveAudio] = []
        with suppress(av.FFmpegError, ValueError):
            for frame in self._decoder.decode(None):
                made += self._take(frame)
            made += self._drain_graph()
            made += self._labelled(self._encoder.encode(None))
        return made

    def _take(self, frame: AudioFrame) -> Iterator[LiveAudio]:
        if frame.samples == 0:
            return
        if frame.pts is None or frame.time_base is None:
            start_s = self._next_s or 0.0
            frame.pts, frame.time_base = round(start_s / self._time_base), self._time_base
        start_s = float(frame.pts * frame.time_base)
        if self._next_s is not None and start_s < self._next_s - _OVERLAP_S:
            return
        self._next_s = start_s + frame.samples / frame.sample_rate
        takes = (frame.format.name, frame.layout.name, frame.sample_rate)
        if takes != self._graph_takes:
            yield from self._drain_graph()
            self._graph, self._graph_takes = self._new_graph(frame), takes
        assert self._graph is not None
        self._graph.push(frame)
        yield from self._pull()

    def _new_graph(self, frame: AudioFrame) -> av.filter.Graph:
        graph, out = av.filter.Graph(), self._encoder
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate, format=frame.format, layout=frame.layout, time_base=frame.time_base
        )
        filters = [source]
        if frame.layout.nb_channels == 1 and out.channels == 2:
            filters.append(graph.add("pan", "stereo|c0=c0|c1=c0"))  # FFmpeg's own way is 3 dB less loud
        into = f"osf={out.format.name}:ochl={out.layout.name}:rematrix_maxval=1"
        filters += [graph.add("aresample", f"{out.sample_rate}:{into}:{_STRETCH}"), graph.add("abuffersink")]
        graph.link_nodes(*filters).configure()
        graph.set_audio_frame_size(self._packet_samples)
        return graph

    def _drain_graph(self) -> list[LiveAudio]:
        if self._graph is None:
            return []
        self._graph.push(None)
        made = list(self._pull())
        self._graph = None
        return made

    def _pull(self) -> Iterator[LiveAudio]:
        assert self._graph is not None
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(frame, AudioFrame)
            yield from self._labelled(self._encoder.encode(frame))

    def _labelled(self, packets: list[Any]) -> list[LiveAudio]:
        made = []
        for packet in packets:
            num_samples = packet.duration or self._packet_samples
            time_s = float(packet.pts * packet.time_base)
            if time_s >= 0:
                duration_s = num_samples / self.format.rate
                made.append(LiveAudio(bytes(packet), self.format, time_s, duration_s, self._arrived_s))
        return made


def rate_for(codec: str, rate: int) -> int:
    """In Hz: `rate` if `codec` can have it, otherwise the next higher one, or its highest."""
    rates = _RATES.get(codec, (rate,))
    return next((each for each in rates if each >= rate), rates[-1])


def decoder_of(source: AudioFormat) -> AudioCodecContext:
    """Raises av errors and ValueError."""
    decoder = av.CodecContext.create(source.codec, "r")
    if not isinstance(decoder, AudioCodecContext):
        raise ValueError(f"{source.codec} is not sound")
    decoder.sample_rate, decoder.layout = source.rate, source.layout
    if source.extradata:
        decoder.extradata = source.extradata
    return decoder


def encoder_of(codec: str, rate: int, layout: str) -> AudioCodecContext:
    """Opened. Raises av errors and ValueError."""
    name = _ENCODERS.get(codec, codec)
    encoder = av.CodecContext.create(name, "w")
    if not isinstance(encoder, AudioCodecContext):
        raise ValueError(f"{codec} is not sound")
    formats = [each.name for each in encoder.codec.audio_formats or ()]
    encoder.sample_rate, encoder.layout = rate, layout
    encoder.format = "fltp" if "fltp" in formats else formats[0]
    encoder.time_base = Fraction(1, rate)
    if codec in _BITS_PER_CHANNEL:
        encoder.bit_rate = _bit_rate(codec, rate, encoder.channels)
    encoder.options = _OPTIONS.get(codec, {})
    encoder.open()
    return encoder


def format_of(codec: str, encoder: AudioCodecContext) -> AudioFormat:
    """What `encoder`, which is open, makes."""
    return AudioFormat(
        codec,
        encoder.sample_rate,
        encoder.layout.name,
        encoder.channels,
        encoder.frame_size,
        bytes(encoder.extradata or b""),
    )


def _bit_rate(codec: str, rate: int, channels: int) -> int:
    """MPEG-2's lower rates and AAC at 8 kHz cannot hold what 48 kHz can."""
    most = _BITS_PER_CHANNEL[codec] * channels
    return most if rate >= 32000 or codec == "opus" else max(most // 2, 32_000) if rate >= 16000 else 32_000
