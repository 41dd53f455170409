"""One scale of quality, 0 to 100, and one of effort for every encoder, as its own options.

The anchors were measured, encoder by encoder, so that equal numbers look about equal: docs/quality.md has the table.
"""

from __future__ import annotations

import av

from streamsr.errors import ConfigError

# Constant-quality parameter of each encoder at quality 0, 25, 50, 75 and 100; between them, straight lines.
_ANCHORS: dict[str, tuple[str, tuple[float, float, float, float, float]]] = {
    "libx264": ("crf", (44, 36, 27, 18, 8)),
    "libx265": ("crf", (45, 38, 28, 18, 7)),
    "libsvtav1": ("crf", (63, 60, 43, 18, 5)),
    "libvpx-vp9": ("crf", (63, 57, 36, 17, 4)),
    "h264_nvenc": ("cq", (48, 38, 29, 20, 10)),
    "hevc_nvenc": ("cq", (48, 38, 29, 20, 10)),
    "av1_nvenc": ("cq", (63, 52, 40, 28, 14)),
    "qsv": ("global_quality", (48, 38, 29, 20, 10)),
    "amf": ("qp_i", (48, 38, 29, 20, 10)),
    "videotoolbox": ("global_quality", (10, 30, 48, 65, 90)),
}
_PRORES_PROFILES = ("proxy", "lt", "standard", "hq")
_PRORES_ENCODERS = {"prores_ks": ("4444", "4444xq"), "prores_videotoolbox": ("4444", "xq")}
_X26X_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
LARGE, FEW_CORES = 2560 * 1440, 4
_QP_TO_LAMBDA = 118  # FF_QP2LAMBDA: videotoolbox reads global_quality in these units


def quality_options(encoder: str, quality: int, *, is_444: bool) -> dict[str, str]:
    """The encoder's own options for `quality` (0 smallest .. 100 best). Lossless encoders have none."""
    profiles = presets_of(encoder, is_444=is_444) if encoder in _PRORES_ENCODERS else ()
    if profiles:
        return {"profile": profiles[min(len(profiles) - 1, quality // (91 if is_444 else 23))]}
    family = encoder if encoder in _ANCHORS else encoder.rpartition("_")[2]
    if family not in _ANCHORS:
        return {}
    option, anchors = _ANCHORS[family]
    value = interpolate(anchors, quality)
    match option:
        case "cq":
            return {"rc": "vbr", "cq": f"{value:g}", "b": "0"}
        case "qp_i":
            return {"rc": "cqp", "qp_i": str(round(value)), "qp_p": str(round(value))}
        case "global_quality" if family == "videotoolbox":
            return {"flags": "+qscale", "global_quality": str(round(value) * _QP_TO_LAMBDA)}
        case "global_quality":
            return {"global_quality": str(round(value))}
    if encoder in ("libsvtav1", "libvpx-vp9"):
        return {"crf": str(round(value))} | ({"b": "0"} if encoder == "libvpx-vp9" else {})
    return {"crf": f"{value:g}"}


def interpolate(anchors: tuple[float, float, float, float, float], quality: int) -> float:
    """The parameter at `quality`, rounded to a quarter."""
    index = min(3, quality // 25)
    share = (quality - 25 * index) / 25
    return round(4 * (anchors[index] + share * (anchors[index + 1] - anchors[index]))) / 4


def preset_options(encoder: str, preset: str, *, pixels: int, cores: int, is_444: bool = False) -> dict[str, str]:
    """The encoder's own options for `preset`; "auto" suits the picture size and the cores there are.

    Raises ConfigError with the encoder's presets when it has no such one."""
    names = presets_of(encoder, is_444=is_444)
    if preset == "auto":
        preset = _auto_preset(encoder, pixels, cores)
    elif preset not in names:
        remedy = f"It knows {', '.join(names)}." if names else "Leave --preset away: it has none."
        raise ConfigError(f"{encoder} has no preset {preset!r}", where="encode.preset", remedy=remedy)
    if not preset:
        return {}
    if encoder == "libvpx-vp9":
        # libvpx's "good" ends at 5; what is faster is its "realtime".
        deadline = "good" if int(preset) <= 5 else "realtime"
        threads = {"row-mt": "1", "tile-columns": "2", "lag-in-frames": "12" if pixels > LARGE else "25"}
        return {"cpu-used": preset, "deadline": deadline} | threads
    return {"profile" if encoder in _PRORES_ENCODERS else "preset": preset}


def frugal_parameters(encoder: str, *, pixels: int, cores: int) -> dict[str, str]:
    """Entries for x264-params, x265-params or svtav1-params that keep pictures waiting inside the encoder few where
    they are large: at 3840x2160 the process stays near 900 MB (docs/quality.md)."""
    if pixels <= LARGE:
        return {}
    match encoder:
        case "libx264":
            return {"rc-lookahead": "10"}
        case "libx265" if cores <= FEW_CORES:
            return {"bframes": "0", "rc-lookahead": "3", "frame-threads": "1"}
        case "libsvtav1" if cores <= FEW_CORES:
            return {"pred-struct": "1", "lp": "1"}
    return {}


def presets_of(encoder: str, *, is_444: bool = False) -> tuple[str, ...]:
    """Names of the presets of `encoder`, fastest first where FFmpeg lists them so; for ProRes, its profiles
    with or without full chroma."""
    if encoder in ("libx264", "libx265"):
        return _X26X_PRESETS
    if encoder == "libsvtav1":
        return tuple(str(number) for number in range(14))
    if encoder == "libvpx-vp9":
        return tuple(str(number) for number in range(9))
    if encoder in _PRORES_ENCODERS:
        return _PRORES_ENCODERS[encoder] if is_444 else _PRORES_PROFILES
    options = av.CodecContext.create(encoder, "w").supported_options.private
    return tuple(choice.name for option in options if option.name == "preset" for choice in option.choices)


def _auto_preset(encoder: str, pixels: int, cores: int) -> str:
    is_large = pixels > LARGE
    is_slow = is_large and cores <= FEW_CORES
    match encoder:
        case "libx264":
            return "veryfast" if is_slow else "fast" if is_large else "medium"
        case "libx265":
            return "ultrafast" if is_slow else "fast" if is_large else "medium"
        case "libsvtav1":
            return "12" if is_slow else "8"
        case "libvpx-vp9":
            return "8" if is_slow else "4"
        case "h264_nvenc" | "hevc_nvenc" | "av1_nvenc":
            return "p5"
    return ""
