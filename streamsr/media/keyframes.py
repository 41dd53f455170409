"""Key frames at which decoding may begin, told from the first bytes of their packets.

A container's flag is not enough: it also marks pictures from which only a gradual refresh begins, or that need
parameters sent before. A key frame is safe when every picture shown from it on needs nothing sent before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import av

HEAD_BYTES = 1 << 16
"""Parameter sets, messages and the first slice's header lie within."""
INTRA_ONLY = 1
"""FFmpeg's AV_CODEC_PROP_INTRA_ONLY."""
WHOLE_KEYS = (
    *("apv", "cfhd", "ffv1", "flv1", "h263", "h263p", "mjpeg", "mpeg4", "msmpeg4v2", "msmpeg4v3", "png", "theora"),
    *("vp8", "vp9", "wmv1", "wmv2"),
)
"""Codecs whose key frames hold all that the pictures shown after them need, apart from the file's own header."""

Check = Callable[[bytes], bool]


def safety_of(context: Any) -> Check | None:
    """For a stream's codec context: says of the first HEAD_BYTES of a key frame's packet whether it is safe. None for
    a codec of which nothing is known."""
    name, extradata = context.codec.canonical_name, bytes(context.extradata or b"")
    if name == "h264":
        length = (extradata[4] & 3) + 1 if extradata[:1] == b"\x01" and len(extradata) > 4 else 0
        return lambda data: _is_safe_h264(data, length)
    if name == "hevc":
        length = (extradata[21] & 3) + 1 if extradata[:1] == b"\x01" and len(extradata) > 21 else 0
        return lambda data: _is_safe_hevc(data, length)
    if name == "av1":
        return _is_safe_av1
    if name in ("mpeg1video", "mpeg2video"):
        return _is_safe_mpeg2
    if name in WHOLE_KEYS or av.Codec(name, "r").properties & INTRA_ONLY:
        return lambda data: True
    return None


def shows_nothing(codec: str, data: bytes) -> bool:
    """True for packets of VP8 and VP9 whose only picture is not shown, only referred to (RFC 6386, 9.1: show_frame is
    bit 4 of the frame tag; VP9 bitstream specification, 6.2: after marker, profile and frame type)."""
    if codec == "vp8":
        return not data[0] & 0x10
    if codec != "vp9" or data[-1] & 0xE0 == 0xC0:  # several frames in one packet: the last of them is shown
        return False
    bits = iter(f"{int.from_bytes(data[:2], 'big'):016b}"[2:])
    profile = int(next(bits)) + 2 * int(next(bits))
    if profile == 3:
        next(bits)
    shows_existing, _, shown = next(bits), next(bits), next(bits)
    return shows_existing == "0" and shown == "0"


def units_of(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """NAL units: behind lengths of so many bytes, or (0) between the start codes of Annex B. The last may be cut."""
    at = 0
    if length_bytes:
        while at + length_bytes < len(data):
            size = int.from_bytes(data[at : at + length_bytes], "big")
            at += length_bytes
            yield data[at : at + size]
            at += size
        return
    at = data.find(b"\0\0\1")
    while at >= 0:
        following = data.find(b"\0\0\1", at + 3)
        yield data[at + 3 : following if following >= 0 else len(data)]
        at = following


def _is_safe_h264(data: bytes, length_bytes: int) -> bool:
    """IDR, or a recovery point that is complete at once (H.264, D.2.8), with its parameters where the file's header
    does not hold them."""
    has_parameters, recovers = bool(length_bytes), False
    for unit in units_of(data, length_bytes):
        kind = unit[0] & 31 if unit else 0
        has_parameters |= kind == 7
        recovers |= kind == 6 and _recovery_count(unit[1:]) == 0
        if 1 <= kind <= 5:
            return has_parameters and (kind == 5 or recovers)
    return False


def _is_safe_hevc(data: bytes, length_bytes: int) -> bool:
    """BLA, IDR and CRA pictures (H.265, table 7-1): what leads a CRA is shown before it."""
    has_parameters = bool(length_bytes)
    for unit in units_of(data, length_bytes):
        kind = unit[0] >> 1 & 63 if unit else 63
        has_parameters |= kind == 33
        if kind < 32:
            return has_parameters and 16 <= kind <= 21
    return False


def _is_safe_mpeg2(data: bytes) -> bool:
    """A sequence header (0xB3) before the picture's start code."""
    header, picture = data.find(b"\0\0\1\xb3"), data.find(b"\0\0\1\0")
    return 0 <= header < picture


def _is_safe_av1(data: bytes) -> bool:
    """A sequence header (OBU type 1), and the first frame is a key frame that is shown at once (AV1, 5.9.2)."""
    at, has_sequence = 0, False
    while at < len(data):
        kind, has_extension, has_size = data[at] >> 3 & 15, data[at] >> 2 & 1, data[at] >> 1 & 1
        at += 1 + has_extension
        size, at = _leb128(data, at) if has_size else (len(data) - at, at)
        if kind == 1:
            has_sequence = True
            if at < len(data) and data[at] & 0x08:  # reduced_still_picture_header
                return True
        if kind in (3, 6):  # show_existing_frame, frame_type (2 bits), show_frame
            return has_sequence and at < len(data) and data[at] >> 4 == 0b0001
        at += size
    return False


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(8):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << 7 * place
        if byte < 128:
            break
    return value, at


def _recovery_count(message: bytes) -> int | None:
    """recovery_frame_cnt of a recovery point (payload type 6) among supplemental messages, else None."""
    data, at = message.replace(b"\0\0\3", b"\0\0"), 0
    while at + 2 < len(data):
        values = []
        for _ in range(2):  # type and size: runs of 255 and a rest
            value = 0
            while at < len(data) and data[at] == 255:
                value, at = value + 255, at + 1
            value, at = value + (data[at] if at < len(data) else 0), at + 1
            values.append(value)
        if values[0] == 6 and values[1]:
            return _exp_golomb(data[at : at + values[1]])
        at += values[1]
    return None


def _exp_golomb(data: bytes) -> int | None:
    """The first ue(v) of some bytes (H.264, 9.1)."""
    bits = "".join(f"{byte:08b}" for byte in data[:8])
    zeros = bits.find("1")
    return None if zeros < 0 else int(bits[zeros : 2 * zeros + 1] or "0", 2) - 1
