"""HDR10 static metadata (SMPTE ST 2086 and CTA-861.3) in the words of the encoders that can write it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from streamsr.frames import HdrMetadata

WRITERS = ("libx264", "libx265", "libsvtav1")
"""Encoders that take it as a parameter. PyAV cannot attach it to pictures, which all others would need."""

_CHROMATICITY_UNIT, _LUMINANCE_UNIT = Fraction(1, 50000), Fraction(1, 10000)


def mastering_parameters(encoder: str, hdr: HdrMetadata | None, is_pq: bool) -> dict[str, str]:
    """Entries for x264-params, x265-params or svtav1-params. Empty for other encoders."""
    if hdr is None or encoder not in WRITERS:
        return {}
    level = None if hdr.max_cll is None and hdr.max_fall is None else f"{hdr.max_cll or 0},{hdr.max_fall or 0}"
    match encoder:
        case "libx265":
            found = {"master-display": _display(hdr, _units), "max-cll": level, "hdr10": "1" if is_pq else None}
            found["repeat-headers"] = "1"
        case "libx264":
            found = {"mastering-display": _display(hdr, _units), "cll": level}
        case _:
            found = {"mastering-display": _display(hdr, _decimal), "content-light": level}
    return {key: value for key, value in found.items() if value is not None}


def _display(hdr: HdrMetadata, write: Callable[[Fraction, Fraction], str]) -> str | None:
    """G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min), the order in which all three encoders want it."""
    if hdr.mastering is None:
        return None
    red, green, blue, white = (hdr.mastering[at : at + 2] for at in (0, 2, 4, 6))
    least, most = hdr.mastering[8:]
    points = (("G", green), ("B", blue), ("R", red), ("WP", white))
    text = "".join(f"{name}({write(x, _CHROMATICITY_UNIT)},{write(y, _CHROMATICITY_UNIT)})" for name, (x, y) in points)
    return f"{text}L({write(most, _LUMINANCE_UNIT)},{write(least, _LUMINANCE_UNIT)})"


def _units(value: Fraction, unit: Fraction) -> str:
    return str(round(value / unit))


def _decimal(value: Fraction, unit: Fraction) -> str:
    return f"{float(round(value / unit) * unit):.5f}"
