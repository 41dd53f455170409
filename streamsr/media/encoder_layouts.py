"""Which pixel layouts an encoder takes, and which of them is nearest to a source's."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import av

from streamsr.errors import ConfigError
from streamsr.frames import PixelLayout

LAYOUTS = tuple(
    PixelLayout(subsampling, depth, is_rgb)
    for is_rgb in (False, True)
    for subsampling in ("420", "422", "444")
    for depth in (8, 10, 12)
    if subsampling == "444" or not is_rgb
)
# The same samples in another order: what an encoder takes instead of our planes.
_REPACKED = {
    "yuv420p": ("nv12",),
    "yuv422p": ("nv16",),
    "yuv420p10le": ("p010le",),
    "yuv422p10le": ("p210le",),
    "yuv420p12le": ("p012le",),
    "gbrp": ("bgr0",),
}


@functools.cache
def layouts_of(encoder: str) -> tuple[PixelLayout, ...]:
    """The layouts of ours that `encoder` takes, as they are or repacked."""
    formats = {video_format.name for video_format in av.Codec(encoder, "w").video_formats or ()}
    return tuple(layout for layout in LAYOUTS if formats.intersection(_formats_for(layout)))


def encoder_format(encoder: str, layout: PixelLayout) -> str:
    """FFmpeg's name of the format in which `encoder` takes pictures of `layout`."""
    formats = {video_format.name for video_format in av.Codec(encoder, "w").video_formats or ()}
    return next(name for name in _formats_for(layout) if name in formats)


def _formats_for(layout: PixelLayout) -> Iterable[str]:
    return (layout.pix_fmt, *_REPACKED.get(layout.pix_fmt, ()))


def named_layout(pix_fmt: str) -> PixelLayout | None:
    """None for "auto". Raises ConfigError for a format that is none of ours."""
    if pix_fmt == "auto":
        return None
    names = {name: layout for layout in LAYOUTS for name in (layout.pix_fmt, layout.pix_fmt.removesuffix("le"))}
    if pix_fmt not in names:
        remedy = f"Use one of {', '.join(layout.pix_fmt for layout in LAYOUTS)}."
        raise ConfigError(f"cannot write pixel format {pix_fmt!r}", where="encode.pix_fmt", remedy=remedy)
    return names[pix_fmt]


def choose_layout(pix_fmt: str, source: PixelLayout, encoder: str) -> PixelLayout:
    """`pix_fmt` if `encoder` takes it, else ConfigError; for "auto" the layout of `encoder` nearest to `source`."""
    possible = layouts_of(encoder)
    named = named_layout(pix_fmt)
    if named is not None:
        if named not in possible:
            remedy = f"It takes {', '.join(layout.pix_fmt for layout in possible)}."
            raise ConfigError(f"{encoder} does not take {pix_fmt}", where="encode.pix_fmt", remedy=remedy)
        return named
    if source.is_rgb and encoder != "ffv1":
        # Video players want Y'CbCr; only ProRes has a usual form of it for pictures made as RGB.
        source = PixelLayout("444" if encoder.startswith("prores") else "420", source.depth)
    return min(possible, key=lambda layout: _distance(layout, source))


def _distance(layout: PixelLayout, source: PixelLayout) -> tuple[bool, int, int]:
    """Smaller is nearer: the same family, then no loss of chroma or depth, then no more of them than needed."""
    chroma = int(layout.subsampling) - int(source.subsampling)
    depth = layout.depth - source.depth
    return layout.is_rgb != source.is_rgb, chroma if chroma >= 0 else 100 - chroma, depth if depth >= 0 else 100 - depth
