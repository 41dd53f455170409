"""How large the output is, and at which factor the network runs to get there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from streamsr.config import NAMED_SIZES, UpscaleConfig, parse_size
from streamsr.errors import ConfigError
from streamsr.frames import VideoInfo

MAX_SIDE = 16384
DEFAULT_BOX = "4k"


@dataclass(frozen=True, slots=True)
class Target:
    """The output picture, upright, with even sides. `network_scale` is the factor the network runs at (folded where it
    can be); what lies between that and the size is a resize."""

    width: int
    height: int
    sample_aspect: Fraction
    network_scale: int

    def is_exact(self, width: int, height: int) -> bool:
        """True if the network alone brings an upright input of that size to the output's."""
        return (width * self.network_scale, height * self.network_scale) == (self.width, self.height)


def plan_target(cfg: UpscaleConfig, info: VideoInfo, scales: Sequence[int], *, square: bool = False) -> Target:
    """`scales`: the factors the network offers, ascending, as (1, 2, 4).

    `scale` multiplies the stored size and keeps the sample aspect. `to` fits the picture as it is shown into the box,
    with square samples; a named box is turned for upright pictures. With neither, the network's own factor is taken,
    but no more than fits into 4K. `square`: the file cannot say that samples are not square, so the picture is
    stretched to what is seen. Raises ConfigError."""
    width, height = info.upright_size
    aspect = info.upright_sample_aspect
    if cfg.scale is not None and cfg.to is not None:
        raise ConfigError("--scale and --to exclude each other", remedy="Give one of them.")
    if cfg.to is not None:
        out_width, out_height = _fitted(width, height, aspect, _box(cfg.to, width * aspect < height))
        aspect = Fraction(1)
    elif cfg.scale is not None:
        factor = Fraction(cfg.scale).limit_denominator(10000)
        out_width, out_height = _even(width * factor), _even(height * factor)
    elif _inside(width * scales[-1], height * scales[-1], aspect):
        out_width, out_height = _even(Fraction(width * scales[-1])), _even(Fraction(height * scales[-1]))
    else:
        out_width, out_height = _fitted(width, height, aspect, _box(DEFAULT_BOX, width * aspect < height))
        if max(out_width / width, out_height / height) <= 1:
            raise ConfigError(
                f"the input is {width}x{height}, as large as 4K already",
                where=info.path,
                remedy="Say how large it shall be, as --scale 2 or --to 8k; --scale 1 only cleans it.",
            )
        aspect = Fraction(1)
    if square and aspect != 1:
        stretched = (
            (out_width * aspect, Fraction(out_height)) if aspect > 1 else (Fraction(out_width), out_height / aspect)
        )
        out_width, out_height, aspect = _even(stretched[0]), _even(stretched[1]), Fraction(1)
    if max(out_width, out_height) > MAX_SIDE:
        raise ConfigError(
            f"the output would be {out_width}x{out_height}; {MAX_SIDE} is the limit per side",
            where=info.path,
            remedy="Take a smaller --scale, or --to.",
        )
    needed = max(Fraction(out_width, width), Fraction(out_height, height))
    # Rounding to even sides may ask for a hair more than a factor; that hair is not worth a network four times as big.
    enough = [scale for scale in scales if scale + Fraction(2, min(width, height)) >= needed]
    return Target(out_width, out_height, aspect, enough[0] if enough else scales[-1])


def _box(text: str, is_portrait: bool) -> tuple[int, int]:
    width, height = parse_size(text)
    return (height, width) if is_portrait and text.strip().lower() in NAMED_SIZES else (width, height)


def _inside(width: int, height: int, aspect: Fraction) -> bool:
    box = _box(DEFAULT_BOX, width * aspect < height)
    return width <= box[0] and width * aspect <= box[0] and height <= box[1]


def _fitted(width: int, height: int, aspect: Fraction, box: tuple[int, int]) -> tuple[int, int]:
    shown_width, shown_height = (
        (width * aspect, Fraction(height)) if aspect >= 1 else (Fraction(width), height / aspect)
    )
    factor = min(box[0] / shown_width, box[1] / shown_height)
    return min(_even(shown_width * factor), box[0] & ~1), min(_even(shown_height * factor), box[1] & ~1)


def _even(length: Fraction) -> int:
    return max(2, 2 * round(length / 2))
