"""The file formats we write, and what each of them can hold so that players understand it."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av

from streamsr.errors import ConfigError

TEXT_SUBTITLES = frozenset({"subrip", "ass", "ssa", "mov_text", "webvtt", "text", "ttml"})


@dataclass(frozen=True, slots=True)
class Container:
    """A file format. `muxer` is FFmpeg's name of it.

    `audio` are the codecs whose packets are copied; None: whatever the muxer takes. The lists are shorter than the
    muxers' own, which also write what no player reads (Vorbis or PCM in MP4, anything as private data in MPEG-TS).
    `video` and `subtitles` are meant in the same way.
    `audio_encoder` makes what is not in the list; `text_encoder` is for text subtitles the muxer refuses."""

    muxer: str
    audio: frozenset[str] | None
    audio_encoder: str
    text_encoder: str | None
    keeps_attachments: bool = False
    keeps_cover: bool = False
    subtitles: frozenset[str] | None = None
    options: tuple[tuple[str, str], ...] = ()
    video: frozenset[str] | None = None

    @property
    def is_mov(self) -> bool:
        return self.muxer in ("mp4", "mov")

    def may_copy_audio(self, codec: str) -> bool:
        pcm_is_fine = self.muxer == "mov" and codec.startswith("pcm_")
        return self.audio is None or codec in self.audio or pcm_is_fine

    def may_hold_video(self, codec: str) -> bool:
        return self.video is None or codec in self.video

    def may_copy_subtitle(self, codec: str) -> bool:
        return self.subtitles is None or codec in self.subtitles


_AUDIO_MP4 = frozenset({"aac", "ac3", "eac3", "mp3", "mp2", "opus", "flac", "alac", "dts"})
_AUDIO_MOV = frozenset({"aac", "ac3", "eac3", "mp3", "mp2", "alac", "amr_nb", "amr_wb"})
_AUDIO_TS = frozenset({"aac", "ac3", "eac3", "mp3", "mp2", "opus", "dts", "truehd"})
_SUBTITLES_MOV = frozenset({"mov_text", "dvd_subtitle"})

MP4 = Container("mp4", _AUDIO_MP4, "aac", "mov_text", keeps_cover=True, subtitles=_SUBTITLES_MOV)
MOV = Container("mov", _AUDIO_MOV, "aac", "mov_text", subtitles=_SUBTITLES_MOV)
MATROSKA = Container("matroska", None, "flac", "subrip", keeps_attachments=True, keeps_cover=True)
WEBM = Container("webm", frozenset({"opus", "vorbis"}), "libopus", "webvtt", subtitles=frozenset({"webvtt"}))
# Without copied time stamps the muxer moves everything by its own delay.
MPEGTS = Container(
    "mpegts",
    _AUDIO_TS,
    "aac",
    None,
    subtitles=frozenset({"dvb_subtitle", "dvb_teletext"}),
    options=(("mpegts_copyts", "1"),),
    video=frozenset({"h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4"}),
)

SUFFIXES = {
    ".mp4": MP4,
    ".m4v": MP4,
    ".mov": MOV,
    ".mkv": MATROSKA,
    ".webm": WEBM,
    ".ts": MPEGTS,
    ".m2ts": MPEGTS,
    ".mts": MPEGTS,
}


def container_of(path: Path) -> Container:
    """The container that the suffix of `path` names. Raises ConfigError, which lists the suffixes there are."""
    container = SUFFIXES.get(path.suffix.lower())
    if container is None:
        what = f"cannot write {path.suffix} files" if path.suffix else "the output has no file suffix"
        raise ConfigError(what, where=str(path), remedy=f"Use one of {', '.join(SUFFIXES)}.")
    return container


def muxer_takes(container: Container, stream: av.stream.Stream) -> bool:
    """Whether a header with a copy of `stream`, and nothing else, can be written: the only answer worth trusting."""
    try:
        trial = av.open(io.BytesIO(), "w", format=container.muxer)
        trial.add_stream_from_template(stream, opaque=True)
        trial.start_encoding()
    except (ValueError, OSError, av.FFmpegError):
        return False
    with suppress(ValueError, OSError, av.FFmpegError):  # the trailer of a file without packets may fail
        trial.close()
    return True
