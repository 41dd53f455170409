"""The values that travel between stages: small, frozen, and checked when they are made.

Time travels, pixels change: the `Stamp` a source gives a picture reaches the sink unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np

Subsampling = Literal["420", "422", "444"]

MATRIX_RGB, MATRIX_BT709, MATRIX_UNSPECIFIED = 0, 1, 2
MATRIX_BT470BG, MATRIX_SMPTE170M, MATRIX_BT2020NC = 5, 6, 9


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a picture is shown. `index` is gapless from 0; `pts` and `duration` count `time_base` ticks
    (seconds each). `duration` 0 means unknown. pts grows strictly from one picture to the next."""

    index: int
    pts: int
    duration: int
    time_base: Fraction

    def __post_init__(self) -> None:
        if self.index < 0 or self.duration < 0 or self.time_base <= 0:
            raise ValueError(f"not a stamp: {self!r}")

    @property
    def time_s(self) -> float:
        return float(self.pts * self.time_base)


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """How the samples of a picture are stored: three planes, little endian, low bits of uint16 above 8 bit.

    RGB pictures are the planes G, B, R (FFmpeg's gbrp) with subsampling 444. Gray is stored as 420 with flat chroma."""

    subsampling: Subsampling = "420"
    depth: int = 8
    is_rgb: bool = False

    def __post_init__(self) -> None:
        if not 8 <= self.depth <= 16 or (self.is_rgb and self.subsampling != "444"):
            raise ValueError(f"not a pixel layout: {self!r}")

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8 if self.depth == 8 else np.uint16)

    @property
    def pix_fmt(self) -> str:
        """FFmpeg's name, as yuv420p, yuv422p10le, gbrp12le."""
        base = "gbrp" if self.is_rgb else f"yuv{self.subsampling}p"
        return base if self.depth == 8 else f"{base}{self.depth}le"

    def plane_shapes(self, width: int, height: int) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of the three planes; chroma of odd sizes is rounded up."""
        chroma_w = -(-width // 2) if self.subsampling in ("420", "422") else width
        chroma_h = -(-height // 2) if self.subsampling == "420" else height
        return (height, width), (chroma_h, chroma_w), (chroma_h, chroma_w)

    def num_bytes(self, width: int, height: int) -> int:
        samples = sum(rows * columns for rows, columns in self.plane_shapes(width, height))
        return samples * self.dtype.itemsize

    def planes_of(self, memory: memoryview, width: int, height: int) -> tuple[np.ndarray, ...]:
        """The three planes laid out one after the other, tightly packed, as views into `memory`."""
        planes, at = [], 0
        for rows, columns in self.plane_shapes(width, height):
            plane = np.frombuffer(memory, self.dtype, rows * columns, at).reshape(rows, columns)
            planes.append(plane)
            at += plane.nbytes
        return tuple(planes)


@dataclass(frozen=True, slots=True)
class ColorTags:
    """Code points of ITU-T H.273 for `matrix`, `primaries`, `transfer` (2 = unspecified); `full_range`;
    `chroma_location` as in FFmpeg's AVChromaLocation (0 unspecified, 1 left, 2 center, 3 top-left, 4 top).

    A source fills what the file leaves open: `matrix` is never 2 and `chroma_location` never 0 in a VideoInfo."""

    matrix: int = MATRIX_UNSPECIFIED
    primaries: int = 2
    transfer: int = 2
    full_range: bool = False
    chroma_location: int = 0

    @property
    def is_hdr(self) -> bool:
        """True for the transfer functions PQ (16) and HLG (18)."""
        return self.transfer in (16, 18)


@dataclass(frozen=True, slots=True)
class HdrMetadata:
    """HDR10 static metadata. `mastering`: ten rationals, chromaticity R, G, B, white (x, y each), then minimum and
    maximum luminance in cd/m2. `max_cll`, `max_fall` in cd/m2."""

    mastering: tuple[Fraction, ...] | None = None
    max_cll: int | None = None
    max_fall: int | None = None


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a stored picture has to be turned to stand upright: first mirrored left-right, then turned clockwise."""

    clockwise: Literal[0, 90, 180, 270] = 0
    mirrored: bool = False

    @property
    def swaps_sides(self) -> bool:
        return self.clockwise in (90, 270)


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a source says of its video track. `width` x `height` and `sample_aspect` are those of the stored picture,
    before `orientation` is applied. `rate` is pictures per second, None when the file has no believable one."""

    path: str
    container: str
    codec: str
    width: int
    height: int
    layout: PixelLayout
    color: ColorTags
    time_base: Fraction
    rate: Fraction | None
    duration_s: float | None
    frames_from_header: int | None
    sample_aspect: Fraction = Fraction(1)
    orientation: Orientation = Orientation()
    interlaced: bool = False
    has_alpha: bool = False
    hdr: HdrMetadata | None = None
    stream_index: int = 0

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1 or self.sample_aspect <= 0:
            raise ValueError(f"not a video: {self!r}")

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) after `orientation` is applied."""
        turned = self.orientation.swaps_sides
        return (self.height, self.width) if turned else (self.width, self.height)

    @property
    def upright_sample_aspect(self) -> Fraction:
        return 1 / self.sample_aspect if self.orientation.swaps_sides else self.sample_aspect


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a film, in absolute ticks of the file's video track: the pictures with start_pts <= pts < end_pts, None
    for an open end. Decoding begins at the key frame `seek_pts`, None for the beginning of the file."""

    start_pts: int | None = None
    end_pts: int | None = None
    seek_pts: int | None = None

    def __post_init__(self) -> None:
        start, end, seek = self.start_pts, self.end_pts, self.seek_pts
        if (seek is not None and (start is None or seek > start)) or (
            start is not None and end is not None and end <= start
        ):
            raise ValueError(f"not a window: {self!r}")


@dataclass(frozen=True, slots=True, eq=False)
class FrameIndex:
    """What the packets of a video track say, one entry per packet in decode order. `pts` (int64, ticks of
    `time_base`), `is_key`, `is_safe` (bool: decoding may begin there, and is right from its pts on), `num_bytes`.
    `trouble`: one line why seeking in this file cannot be trusted, "" where it can."""

    pts: np.ndarray = field(repr=False)
    is_key: np.ndarray = field(repr=False)
    is_safe: np.ndarray = field(repr=False)
    num_bytes: np.ndarray = field(repr=False)
    time_base: Fraction
    trouble: str = ""

    def __post_init__(self) -> None:
        if len({len(self.pts), len(self.is_key), len(self.is_safe), len(self.num_bytes)}) != 1:
            raise ValueError("the columns of an index are equally long")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A decoded picture: three planes as `layout` says, of a width x height that may change in mid-stream.

    The planes are read-only to everybody: they may be the decoder's own reference picture."""

    stamp: Stamp
    planes: tuple[np.ndarray, ...] = field(repr=False)
    layout: PixelLayout
    width: int
    height: int

    def __post_init__(self) -> None:
        shapes = tuple(plane.shape for plane in self.planes)
        if shapes != self.layout.plane_shapes(self.width, self.height):
            raise ValueError(f"planes {shapes} are not {self.layout} at {self.width}x{self.height}")


@dataclass(frozen=True, slots=True, eq=False)
class Upscaled:
    """An upscaled picture waiting in the shared-memory slot `slot`, packed as `PixelLayout.planes_of` reads it."""

    stamp: Stamp
    slot: Any = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """Encoded bytes of one picture. `pts`, `dts`, `duration` count `time_base` ticks."""

    data: bytes = field(repr=False)
    pts: int
    dts: int
    duration: int
    time_base: Fraction
    is_keyframe: bool
