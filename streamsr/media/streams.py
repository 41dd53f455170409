"""What becomes of every stream of the source besides the upscaled picture: copied, transcoded, or dropped and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import av
from av.container import InputContainer
from av.stream import AttachmentStream, Discard, Disposition, Stream

from streamsr.config import OutputConfig
from streamsr.media.audio import can_transcode
from streamsr.media.containers import TEXT_SUBTITLES, Container, muxer_takes
from streamsr.media.subtitles import can_convert

Fate = Literal["copied", "transcoded", "dropped"]
READ_TIMEOUT_S = 60.0
COVER_TYPES = {"mjpeg": ("jpg", "image/jpeg"), "png": ("png", "image/png"), "bmp": ("bmp", "image/bmp")}


@dataclass(frozen=True, slots=True)
class StreamFate:
    """What happened to stream `index` of the source. `reason` is empty for a plain copy; `packets` and `bytes` count
    what was written, `skipped` the packets that could not be, `repaired` those whose time stamps were mended."""

    index: int
    kind: str
    codec: str
    language: str | None
    fate: Fate
    reason: str = ""
    packets: int = 0
    bytes: int = 0
    skipped: int = 0
    repaired: int = 0

    def __str__(self) -> str:
        language = f", {self.language}" if self.language else ""
        return f"{self.kind} stream {self.index} ({self.codec}{language})"

    @property
    def notice(self) -> str:
        """One line for the user; empty if there is nothing to say."""
        facts = [f"{self.fate}: {self.reason}"] if self.reason else []
        facts += [f"{self.skipped} damaged packets left out"] if self.skipped else []
        facts += [f"time stamps of {self.repaired} packets mended"] if self.repaired else []
        return f"{self} {'; '.join(facts)}" if facts else ""


def decide(stream: Stream, container: Container, cfg: OutputConfig, *, has_timecode: bool) -> StreamFate:
    """The fate of `stream` in a file of type `container`. `has_timecode`: the new file's tags say its timecode."""
    fate = StreamFate(stream.index, _kind(stream), codec_of(stream), stream.language, "copied")
    if fate.kind == "audio":
        return _decide_audio(fate, stream, container, cfg)
    if fate.kind == "subtitle":
        return _decide_subtitle(fate, stream, container)
    if fate.kind == "cover":
        if container.keeps_cover and fate.codec in COVER_TYPES:
            return fate
        return replace(fate, fate="dropped", reason=f"{container.muxer} cannot hold it")
    if fate.kind == "attachment":
        if container.keeps_attachments:
            return fate
        name = stream.metadata.get("filename", "an attachment")
        return replace(fate, fate="dropped", reason=f"{container.muxer} holds no attachments ({name})")
    if fate.kind == "video":
        if container.may_hold_video(fate.codec) and _takes(container, stream):
            return replace(fate, reason="a further video track, not upscaled")
        return replace(fate, fate="dropped", reason=f"a further video track that {container.muxer} cannot hold")
    return _decide_data(fate, stream, container, has_timecode)


def codec_of(stream: Stream) -> str:
    """FFmpeg's name of the codec (not of a decoder), "unknown" if it has none."""
    if stream.codec_context is not None:
        return stream.codec_context.codec.canonical_name
    return getattr(stream, "name", None) or "unknown"


def _kind(stream: Stream) -> str:
    if stream.type == "video" and stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
        return "cover"
    if isinstance(stream, AttachmentStream):
        return "attachment"
    return stream.type or "unknown"


def _takes(container: Container, stream: Stream) -> bool:
    known = stream.codec_context is not None or stream.type == "data"
    return known and muxer_takes(container, stream)


def _decide_audio(fate: StreamFate, stream: Stream, container: Container, cfg: OutputConfig) -> StreamFate:
    if cfg.audio == "none":
        return replace(fate, fate="dropped", reason="audio was not wanted")
    if stream.codec_context is None:
        return replace(fate, fate="dropped", reason="its codec is unknown")
    if cfg.audio == "copy" and container.may_copy_audio(fate.codec) and _takes(container, stream):
        return fate
    why = "as asked for" if cfg.audio == "transcode" else f"{container.muxer} cannot hold {fate.codec}"
    problem = can_transcode(stream)
    if problem:
        return replace(fate, fate="dropped", reason=f"{why}, and {problem}")
    return replace(fate, fate="transcoded", reason=why)


def _decide_subtitle(fate: StreamFate, stream: Stream, container: Container) -> StreamFate:
    if container.may_copy_subtitle(fate.codec) and _takes(container, stream):
        return fate
    if fate.codec not in TEXT_SUBTITLES:
        what = "pictures" if stream.codec_context is not None else "of an unknown kind"
        return replace(fate, fate="dropped", reason=f"{container.muxer} holds no subtitles that are {what}")
    if container.text_encoder is None or not can_convert(stream):
        return replace(fate, fate="dropped", reason=f"{container.muxer} holds no text subtitles")
    reason = f"to {container.text_encoder}, {container.muxer} cannot hold {fate.codec}"
    return replace(fate, fate="transcoded", reason=reason)


def _decide_data(fate: StreamFate, stream: Stream, container: Container, has_timecode: bool) -> StreamFate:
    if stream.discard == Discard.all:  # FFmpeg's reader hides the track in which MP4 keeps its chapters
        return replace(fate, kind="chapters")
    if "timecode" in stream.metadata:
        if has_timecode and container.is_mov:  # the muxer makes the track anew from the tag
            return replace(fate, kind="timecode")
        where = f"{container.muxer} keeps it as a tag only" if has_timecode else "it is that of another first picture"
        return replace(fate, fate="dropped", kind="timecode", reason=where)
    if _takes(container, stream):
        return fate
    return replace(fate, fate="dropped", reason=f"{container.muxer} cannot hold it")


def cover_bytes(source: InputContainer, stream: Stream) -> bytes:
    """The picture of a cover stream; empty if there is none. Read by itself: it must be known for the header."""
    with av.open(source.name, timeout=READ_TIMEOUT_S, metadata_errors="replace") as again:
        for packet in again.demux(again.streams[stream.index]):
            if packet.size:
                return bytes(packet)
    return b""
