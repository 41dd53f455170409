"""One generation of lossy video coding as a small value: which codec, how good, with what structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from streamsr.errors import ConfigError
from streamsr.frames import Subsampling

CodecName = Literal["h264", "hevc", "mpeg2", "mpeg4", "vp8", "vp9"]
Effort = Literal["fast", "good"]


@dataclass(frozen=True, slots=True)
class CodecFacts:
    """What a codec can do here. `quality` (best, worst): crf of x264, x265 and VP9, quantiser of the others."""

    encoder: str
    decoder: str
    quality: tuple[int, int]
    chroma: tuple[Subsampling, ...]
    most_b_frames: int


CODECS: Mapping[CodecName, CodecFacts] = MappingProxyType(
    {
        "h264": CodecFacts("libx264", "h264", (1, 51), ("420", "422", "444"), 3),
        "hevc": CodecFacts("libx265", "hevc", (1, 51), ("420", "422", "444"), 3),
        "mpeg2": CodecFacts("mpeg2video", "mpeg2video", (1, 31), ("420", "422"), 2),
        "mpeg4": CodecFacts("mpeg4", "mpeg4", (1, 31), ("420",), 2),
        "vp8": CodecFacts("libvpx", "vp8", (0, 63), ("420",), 0),
        "vp9": CodecFacts("libvpx-vp9", "vp9", (0, 63), ("420", "422", "444"), 0),
    }
)
"""crf 0 of x264 would mean lossless, in a profile of its own; so their best is 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """`quality` in the codec's own numbers, smaller is better (see CODECS). A key picture comes every `gop` pictures.

    `effort` "good" searches longer, as uploads are coded; "fast" is a live encoder. Raises ConfigError for what the
    codec cannot do."""

    codec: CodecName
    quality: int
    gop: int = 12
    b_frames: int = 0
    chroma: Subsampling = "420"
    effort: Effort = "fast"

    def __post_init__(self) -> None:
        facts = CODECS.get(self.codec)
        if facts is None:
            raise ConfigError(f"unknown codec {self.codec!r}", remedy=f"Choose from {', '.join(CODECS)}.")
        best, worst = facts.quality
        if not best <= self.quality <= worst:
            raise ConfigError(f"{self.codec} has no quality {self.quality}", remedy=f"Choose from {best} to {worst}.")
        if self.chroma not in facts.chroma:
            remedy = f"Choose from {', '.join(facts.chroma)}."
            raise ConfigError(f"{self.codec} is not coded with chroma {self.chroma} here", remedy=remedy)
        if self.gop < 1 or not 0 <= self.b_frames <= facts.most_b_frames:
            remedy = f"It has 0 to {facts.most_b_frames} B-frames and a gop of 1 or more."
            raise ConfigError(f"{self.codec} with gop {self.gop}, {self.b_frames} B-frames", remedy=remedy)
