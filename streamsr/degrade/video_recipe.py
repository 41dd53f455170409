"""What a video does to pictures, as the section `video` of a recipe: kinds of damage, their chances and ranges."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from streamsr.config import Section
from streamsr.media.generation import CODECS, CodecName

Chance = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Hold(Section):
    prob: Chance = 0.0
    """Chance that pictures are held, as where animation is drawn on twos or a film was brought to a higher rate."""
    longest: Annotated[int, Field(ge=2, le=8)] = 3
    """A picture is shown 2 to so many times; each number is equally likely."""


class Banding(Section):
    prob: Chance = 0.0
    """Chance of fewer levels."""
    bits: tuple[Count, Count] = (5, 7)
    """Least and most bits per colour."""
    dither_prob: Chance = 0.5
    """Chance that the steps are hidden in an ordered pattern."""


class Interlacing(Section):
    prob: Chance = 0.0
    """Chance that pictures were interlaced once, and deinterlaced again."""
    bwdif: Share = 1.0
    """Share of FFmpeg's bwdif."""
    yadif: Share = 1.0
    """Share of FFmpeg's yadif."""
    lines: Share = 1.0
    """Share of line doubling."""


class Chroma(Section):
    prob: Chance = 0.0
    """Chance that colour alone is reduced, whatever codecs do."""
    half: Share = 3.0
    """Share of 4:2:0."""
    wide: Share = 1.0
    """Share of 4:2:2."""
    nearest_prob: Chance = 0.3
    """Chance that colour is enlarged again by repeating pixels, as cheap players do."""


class Coding(Section):
    share: Share = 1.0
    """Weight of this codec among the others."""
    quality: tuple[int, int]
    """Best and worst, in the codec's own numbers: crf of h264 and hevc (1-51) and vp9 (0-63), quantiser of mpeg2 and
    mpeg4 (1-31) and vp8 (0-63). Every number between them is equally likely."""


class Video(Section):
    still_frames: Annotated[int, Field(ge=1, le=32)] = 3
    """Pictures that are made of a still, so that codecs have motion to predict; the last of them is used."""
    hold: Hold = Hold()
    """Pictures shown more than once."""
    banding: Banding = Banding()
    """Fewer levels per colour."""
    interlacing: Interlacing = Interlacing()
    """Interlaced and made progressive again."""
    chroma: Chroma = Chroma()
    """Coarser colour."""
    generations: Annotated[tuple[Share, ...], Field(min_length=1, max_length=4)] = (0.0, 1.0)
    """Shares of no codec, one, two, three in a row."""
    codecs: dict[CodecName, Coding] = Field(default_factory=dict)
    """The codecs by name: h264, hevc, mpeg2, mpeg4, vp8, vp9."""
    gop: tuple[Count, Count] = (1, 12)
    """Least and most pictures from one key picture to the next."""
    b_frames_prob: Chance = 0.5
    """Chance of B-frames, where the codec has them: one, two, as many as it takes."""
    full_color_prob: Chance = 0.05
    """Chance that a codec which can keeps more colour than 4:2:0."""
    good_prob: Chance = 0.5
    """Chance of a slower, better search in the encoder."""

    @model_validator(mode="after")
    def _codecs_fit(self) -> Video:
        if sum(self.generations) <= 0:
            raise ValueError("every share of generations is 0")
        if sum(self.generations[1:]) > 0 and sum(coding.share for coding in self.codecs.values()) <= 0:
            raise ValueError("generations need codecs with a share above 0")
        for name, coding in self.codecs.items():
            best, worst = CODECS[name].quality
            if not best <= coding.quality[0] <= coding.quality[1] <= worst:
                raise ValueError(f"codecs.{name}.quality must rise within {best} to {worst}")
        if self.gop[0] > self.gop[1] or not self.banding.bits[0] <= self.banding.bits[1] <= 8:
            raise ValueError("gop and banding.bits: the smaller number first; bits at most 8")
        interlacing = self.interlacing
        if interlacing.prob and not interlacing.bwdif + interlacing.yadif + interlacing.lines:
            raise ValueError("interlacing needs a way back: every share is 0")
        if self.chroma.prob and not self.chroma.half + self.chroma.wide:
            raise ValueError("chroma: every share is 0")
        return self
