"""An audio stream of an output for packets that were encoded elsewhere, described by an AudioFormat.

PyAV copies the parameters of a stream from an input only. So a Matroska header is written by hand, which holds them
all, the codec's private data byte for byte, and read back."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer

from streamsr.live_frames import AudioFormat

_CODEC_IDS = {
    "aac": "A_AAC",
    "opus": "A_OPUS",
    "vorbis": "A_VORBIS",
    "mp3": "A_MPEG/L3",
    "mp2": "A_MPEG/L2",
    "ac3": "A_AC3",
    "eac3": "A_EAC3",
    "flac": "A_FLAC",
    "pcm_s16le": "A_PCM/INT/LIT",
    "pcm_s16be": "A_PCM/INT/BIG",
}
_WAVE_TAGS = {"pcm_alaw": 6, "pcm_mulaw": 7, "adpcm_g722": 0x28F}
_NEED_DATA = ("aac", "opus", "vorbis", "flac")


def can_describe(audio: AudioFormat) -> bool:
    """Whether `add_audio_track` knows the codec, and has what muxers must know of it."""
    if audio.codec in _NEED_DATA and not audio.extradata:
        return False
    return audio.codec in _CODEC_IDS or audio.codec in _WAVE_TAGS


def add_audio_track(output: OutputContainer, audio: AudioFormat) -> AudioStream:
    """A new stream of `output` in whose time base one sample is one tick. Raises ValueError where the output cannot
    hold the codec."""
    with av.open(io.BytesIO(_matroska_header(audio)), format="matroska") as blank:
        stream = output.add_stream_from_template(blank.streams.audio[0], opaque=True)
    stream.codec_context.layout = audio.layout  # Matroska has none, and FLV would tag MP3 as multichannel
    stream.time_base = Fraction(1, audio.rate)
    return stream


def _private_data(audio: AudioFormat) -> bytes:
    if audio.codec in _WAVE_TAGS:  # WAVEFORMATEX: tag, channels, rate, bytes a second, block, bits, more bytes
        bits = 8 if audio.codec.startswith("pcm_") else 4
        byte_rate = audio.rate * audio.channels * bits // 8
        block = max(audio.channels * bits // 8, 1)
        return struct.pack("<HHIIHHH", _WAVE_TAGS[audio.codec], audio.channels, audio.rate, byte_rate, block, bits, 0)
    return audio.extradata


def _matroska_header(audio: AudioFormat) -> bytes:
    codec_id = _CODEC_IDS.get(audio.codec, "A_MS/ACM" if audio.codec in _WAVE_TAGS else "")
    if not codec_id:
        raise ValueError(f"no container is known to keep {audio.codec} packets")
    settings = _element(0xB5, struct.pack(">d", audio.rate)) + _element(0x9F, bytes([audio.channels]))
    if audio.codec.startswith("pcm_s16"):
        settings += _element(0x6264, bytes([16]))
    private = _private_data(audio)
    track = b"".join(
        (
            _element(0xD7, b"\x01"),
            _element(0x73C5, b"\x01"),
            _element(0x83, b"\x02"),
            _element(0x86, codec_id.encode()),
            _element(0x63A2, private) if private else b"",
            _element(0xE1, settings),
        )
    )
    info = _element(0x2AD7B1, (1_000_000).to_bytes(4, "big"))
    cluster = _element(0x1F43B675, _element(0xE7, b"\x00"))  # the demuxer looks for one
    segment = _element(0x1549A966, info) + _element(0x1654AE6B, _element(0xAE, track)) + cluster
    return _element(0x1A45DFA3, _element(0x4282, b"matroska")) + _element(0x18538067, segment)


def _element(number: int, content: bytes) -> bytes:
    """An EBML element with a length of eight bytes."""
    identity = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return identity + (1 << 56 | len(content)).to_bytes(8, "big") + content
