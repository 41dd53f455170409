"""Pictures through a video codec in memory and back, for the look that it leaves.

Everything is single-threaded: the same pictures and settings give the same bytes, and no thread outlives a call."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av

from streamsr.errors import ConfigError, FrameMismatch
from streamsr.media.chroma import ChromaPath, Picture, padded, unpadded
from streamsr.media.generation import CODECS, Generation

RATE = Fraction(25)
LEAST_SIDE = 64  # two blocks of HEVC as coded here, see _options
VP8_CEILING = 50_000_000  # bits per second: libvpx reads a limit, which the quantiser alone shall set
_X265_PARAMS = "log-level=none:info=0:pools=none:frame-threads=1:wpp=0:lookahead-slices=0:b-adapt=0:cutree=0:ctu=32"
_X264 = {"fast": "veryfast", "good": "medium"}
_X265 = {"fast": "ultrafast", "good": "veryfast"}


def recode(frames: Sequence[Picture], generation: Generation) -> list[Picture]:
    """The pictures as a viewer of the coded clip sees them: as many, in order, new arrays of the same size.

    frames: HWC uint8 RGB, all of one size. Odd sizes are padded for the coder and cropped back.
    Raises ConfigError where this build of PyAV lacks the encoder, FrameMismatch if pictures were lost."""
    if not frames:
        return []
    path = ChromaPath(generation.chroma)
    encoder, decoder = _open(generation, padded(frames[0], LEAST_SIDE))
    decoded: list[av.VideoFrame] = []
    for number, frame in enumerate(frames):
        picture = path.yuv(padded(frame, LEAST_SIDE))
        picture.pts, picture.time_base = number, 1 / RATE
        decoded += _through(encoder.encode(picture), decoder)
    decoded += _through(encoder.encode(None), decoder)
    decoded += decoder.decode(None)
    if [picture.pts for picture in decoded] != list(range(len(frames))):
        given = [picture.pts for picture in decoded]
        raise FrameMismatch(f"{generation.codec} gave pictures {given} for {len(frames)}", stage="recode")
    return [unpadded(path.rgb(picture), frames[0].shape) for picture in decoded]


def _through(packets: Sequence[Any], decoder: Any) -> list[av.VideoFrame]:
    return [picture for packet in packets for picture in decoder.decode(packet)]


def _open(generation: Generation, like: Picture) -> tuple[Any, Any]:
    """Encoder and decoder contexts. Nothing in them runs on a thread of its own; they end with their last reference."""
    facts = CODECS[generation.codec]
    try:
        encoder: Any = av.CodecContext.create(facts.encoder, "w")
        decoder: Any = av.CodecContext.create(facts.decoder, "r")
    except av.codec.codec.UnknownCodecError as error:
        raise ConfigError(
            f"this build of PyAV has no {facts.encoder}", remedy=f"Leave {generation.codec} out of the recipe."
        ) from error
    encoder.height, encoder.width = like.shape[:2]
    encoder.pix_fmt = f"yuv{generation.chroma}p"
    encoder.time_base, encoder.framerate = 1 / RATE, RATE
    encoder.gop_size = generation.gop
    if facts.most_b_frames:
        encoder.max_b_frames = generation.b_frames
    encoder.options = _options(generation)
    if generation.codec in ("mpeg2", "mpeg4", "vp8"):
        encoder.qmin = encoder.qmax = generation.quality
    if generation.codec == "vp8":
        encoder.bit_rate = VP8_CEILING
    elif generation.codec == "vp9":
        encoder.bit_rate = 0  # constant quality
    encoder.thread_count = decoder.thread_count = 1
    decoder.thread_type = "NONE"
    encoder.open()
    return encoder, decoder


def _options(generation: Generation) -> dict[str, str]:
    """The encoder's own. What looks ahead or adapts to a long film is off: training clips have a few pictures."""
    quality, effort, b_frames = str(generation.quality), generation.effort, generation.b_frames
    match generation.codec:
        case "h264":
            params = "rc-lookahead=0:sync-lookahead=0:mbtree=0:b-adapt=0"
            return {"preset": _X264[effort], "crf": quality, "x264-params": params}
        case "hevc":
            # pools=none: no thread pool. ctu=32 and LEAST_SIDE: where a picture is one block wide or high, x265 reads
            # memory it never wrote, and the bytes differ from run to run. It must look further ahead than its B-frames.
            params = f"{_X265_PARAMS}:rc-lookahead={b_frames + 1}"
            return {"preset": _X265[effort], "crf": quality, "x265-params": params}
        case "vp8":
            # A positive cpu-used of VP8 in real time follows the clock: not reproducible
            live = {"deadline": "realtime", "cpu-used": "-8", "lag-in-frames": "0", "auto-alt-ref": "0"}
            slow = {"deadline": "good", "cpu-used": "2", "lag-in-frames": "5", "auto-alt-ref": "1"}
            return live if effort == "fast" else slow
        case "vp9":
            live = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0"}
            slow = {"deadline": "good", "cpu-used": "5", "lag-in-frames": "5", "auto-alt-ref": "1"}
            return {"crf": quality, **(live if effort == "fast" else slow)}
    return {"mbd": "rd", "trellis": "1"} if effort == "good" else {}
