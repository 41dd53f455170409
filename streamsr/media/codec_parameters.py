"""What two encoders must agree on, so that the packets of both can follow each other in one stream."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping

import av

from streamsr.errors import SinkError

# By codec: the bits of a unit's first byte that hold its type, and the types of comments (SEI).
_SEI = {"h264": (0x1F, {6}), "hevc": (0x7E, {39 << 1, 40 << 1})}


def codec_parameters(template: bytes) -> dict[str, str]:
    """Of the stream in `template` (see `Encoder.stream_template`), by name: everything a muxer writes into a file's
    header. Of the extradata only what decoders use: x264 and x265 add a comment with the number of their threads.

    Raises SinkError when it cannot be read."""
    try:
        with av.open(io.BytesIO(template)) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            codec = context.codec.canonical_name
            found = {
                "codec": codec,
                "tag": context.codec_tag,
                "profile": context.profile,
                "size": f"{context.width}x{context.height}",
                "pixel format": context.pix_fmt,
                "sample aspect": stream.sample_aspect_ratio,
                "colour matrix": context.colorspace,
                "colour primaries": context.color_primaries,
                "transfer": context.color_trc,
                "range": context.color_range,
            }
            extradata = bytes(context.extradata or b"")
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise SinkError(f"a part has no stream: {error}", remedy="Start anew with --fresh.") from error
    found["headers"] = hashlib.sha256(_without_comments(codec, extradata)).hexdigest()[:16]
    return {name: str(value) for name, value in found.items()}


def parameters_digest(parameters: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(parameters), sort_keys=True).encode()).hexdigest()


def _without_comments(codec: str, extradata: bytes) -> bytes:
    """Annex B headers without their SEI; anything else as it is."""
    mask, comments = _SEI.get(codec, (0, set()))
    if not mask or not extradata.startswith((b"\x00\x00\x01", b"\x00\x00\x00\x01")):
        return extradata
    units = re.split(rb"\x00*\x00\x00\x01", extradata)[1:]
    return b"".join(b"\x00\x00\x01" + unit for unit in units if unit and unit[0] & mask not in comments)
