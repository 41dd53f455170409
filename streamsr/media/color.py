"""Colour of a stream as code points of ITU-T H.273, and what to assume where a file says nothing."""

from __future__ import annotations

from typing import Any

from streamsr.frames import (
    MATRIX_BT470BG,
    MATRIX_BT709,
    MATRIX_BT2020NC,
    MATRIX_RGB,
    MATRIX_SMPTE170M,
    MATRIX_UNSPECIFIED,
    ColorTags,
)

RANGE_UNSPECIFIED, RANGE_LIMITED, RANGE_FULL = 0, 1, 2
"""FFmpeg's AVColorRange."""

CHROMA_LEFT, CHROMA_CENTER, CHROMA_TOP_LEFT = 1, 2, 3
"""FFmpeg's AVChromaLocation."""

MATRIX_NAMES = {
    0: "RGB",
    1: "BT.709",
    4: "FCC",
    5: "BT.470BG",
    6: "SMPTE 170M",
    7: "SMPTE 240M",
    8: "YCgCo",
    9: "BT.2020",
    10: "BT.2020 constant luminance",
    11: "SMPTE 2085",
    12: "chromaticity-derived",
    13: "chromaticity-derived constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
MATRICES = (MATRIX_RGB, MATRIX_BT709, 4, MATRIX_BT470BG, MATRIX_SMPTE170M, 7, MATRIX_BT2020NC)
"""Matrices that are a plain weighting of R', G' and B'. The others need more than one: they are read as BT.709 or
BT.2020, whichever is nearer."""

CENTERED_CODECS = {"mjpeg", "mjpegb", "jpegls", "jpeg2000", "mpeg1video", "h263", "h261", "flv1", "vp6", "vp6f", "vp6a"}
FULL_BY_HABIT = {"mjpeg", "jpegls", "jpeg2000", "png", "gif", "bmp", "tiff", "webp", "rawvideo", "ffv1"}
"""Codecs whose gray pictures are full range unless the file says otherwise."""


def source_tags(
    frame: Any, context: Any, *, codec: str, is_rgb: bool, upright_size: tuple[int, int], chroma_location: int
) -> ColorTags:
    """Tags of a picture (av.VideoFrame, av.VideoCodecContext), with everything the file leaves open filled in.

    `chroma_location`: what the file says, 0 for nothing. `upright_size` is (width, height) as shown: unspecified YUV is
    BT.709 from 1280 wide or above 576 high, else SMPTE 170M, as players assume."""
    matrix = _first(frame.colorspace, context.colorspace, unspecified=MATRIX_UNSPECIFIED)
    primaries = _first(frame.color_primaries, context.color_primaries, unspecified=2)
    transfer = _first(frame.color_trc, context.color_trc, unspecified=2)
    if is_rgb:
        matrix = MATRIX_RGB
    elif matrix in (MATRIX_RGB, MATRIX_UNSPECIFIED, 3):
        matrix = _assumed_matrix(primaries, upright_size)
    elif matrix not in MATRICES:
        matrix = MATRIX_BT2020NC if primaries == 9 else MATRIX_BT709
    full = is_full_range(frame, context, codec=codec, is_rgb=is_rgb)
    location = chroma_location or _assumed_chroma_location(codec, transfer)
    return ColorTags(matrix, primaries, transfer, full, location)


def is_full_range(frame: Any, context: Any, *, codec: str, is_rgb: bool) -> bool:
    """Whether black is 0. YUV is limited and RGB full unless marked; yuvj formats are full by name."""
    name = frame.format.name
    if name.startswith("yuvj"):
        return True
    tagged = _first(frame.color_range, context.color_range, unspecified=RANGE_UNSPECIFIED)
    if tagged != RANGE_UNSPECIFIED:
        return bool(tagged == RANGE_FULL)
    return is_rgb or (name.startswith(("gray", "ya", "mono")) and codec in FULL_BY_HABIT)


def foreign_matrix(frame: Any) -> str | None:
    """Name of a tagged matrix that can only be read approximately."""
    matrix = int(frame.colorspace)
    if matrix in MATRICES or matrix in (MATRIX_UNSPECIFIED, 3):
        return None
    return MATRIX_NAMES.get(matrix, f"number {matrix}")


def _first(*values: Any, unspecified: int) -> int:
    return next((int(value) for value in values if int(value) != unspecified), unspecified)


def _assumed_matrix(primaries: int, upright_size: tuple[int, int]) -> int:
    width, height = upright_size
    if primaries == 9:
        return MATRIX_BT2020NC
    if primaries == 5:
        return MATRIX_BT470BG
    if primaries == 6:
        return MATRIX_SMPTE170M
    return MATRIX_BT709 if primaries == 1 or height > 576 or width >= 1280 else MATRIX_SMPTE170M


def _assumed_chroma_location(codec: str, transfer: int) -> int:
    """Each family's convention: centre for JPEG and MPEG-1, top-left for HDR in HEVC as UHD Blu-ray wants it, left
    for all else."""
    if codec in CENTERED_CODECS:
        return CHROMA_CENTER
    return CHROMA_TOP_LEFT if codec == "hevc" and transfer == 16 else CHROMA_LEFT
