"""Encoder settings for live pictures: every picture comes out as it goes in, and key frames come at fixed distances."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction

from streamsr.config import EncodeConfig
from streamsr.errors import ConfigError
from streamsr.frames import MATRIX_BT709, MATRIX_RGB, ColorTags, PixelLayout, VideoInfo
from streamsr.live_config import LiveEncodeConfig, parse_bitrate
from streamsr.live_frames import OUT_TIME_BASE
from streamsr.media.encoders import EncoderSettings, choose_encoder
from streamsr.media.quality import LARGE, preset_options

LAYOUT = PixelLayout("420", 8)
"""What every receiver of a live stream can show."""
BITS_PER_PIXEL = {"h264": 0.10, "hevc": 0.065}
LEAST_BITS, MOST_BITS = 400_000, 60_000_000
MOST_SLICES = 8
_CRF = {"libx264": "21", "libx265": "23"}
_CQ = "24"


def low_latency(
    cfg: LiveEncodeConfig,
    width: int,
    height: int,
    color: ColorTags,
    rate: Fraction | None,
    *,
    baseline: bool = False,
) -> EncoderSettings:
    """The encoder for live pictures of `width` x `height`; `color` is the source's, `rate` None where it has none that
    can be believed. Results are of limited range, as receivers expect. `baseline`: a target is a WebRTC receiver.

    Raises ConfigError for what no encoder here can do."""
    if baseline and cfg.codec != "h264":
        remedy = "Use --codec h264, or restream to the other targets in a stream of their own."
        raise ConfigError(f"WebRTC receivers do not take {cfg.codec}", where="encode.codec", remedy=remedy)
    rate = min(rate or Fraction(25), Fraction(240))
    found = choose_encoder(
        EncodeConfig(codec=cfg.codec, encoder=cfg.encoder, pix_fmt=LAYOUT.pix_fmt),
        _info(width, height, _color(color), rate),
        width,
        height,
        Fraction(1),
        ".mkv",
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pixels = width * height
    preset = cfg.preset if cfg.preset != "auto" else _preset(found.encoder, pixels, cores)
    bits, named = _bits(cfg, pixels, rate)
    # Half the cores at most: the others upscale, and what a picture waits for is the slower of the two.
    threads = max(1, min(cores // 2, MOST_SLICES))
    options = {"bf": "0", "maxrate": str(bits), "bufsize": str(bits)}
    options |= {"chroma_sample_location": "left"}
    options |= preset_options(found.encoder, preset, pixels=pixels, cores=cores) if preset else {}
    options |= _at_once(found.encoder, threads) | _rate_control(found.encoder, bits, is_named=named)
    if baseline:  # WebRTC receivers may know no other profile
        options["profile"] = "constrained_baseline" if found.encoder.endswith("_amf") else "baseline"
    return replace(
        found,
        options=tuple(options.items()),
        rate=rate,
        gop=max(1, round(rate * Fraction(cfg.gop_s))),
        threads=threads,
        global_header=True,
        description=f"{found.codec} by {found.encoder}, low latency, at most {bits / 1e6:.1f} Mb/s, a key frame every "
        f"{cfg.gop_s:g} s",
    )


def _color(color: ColorTags) -> ColorTags:
    matrix = MATRIX_BT709 if color.matrix == MATRIX_RGB else color.matrix
    return ColorTags(matrix, color.primaries, color.transfer, full_range=False, chroma_location=1)


def _info(width: int, height: int, color: ColorTags, rate: Fraction) -> VideoInfo:
    return VideoInfo(
        path="a live source",
        container="live",
        codec="raw",
        width=width,
        height=height,
        layout=LAYOUT,
        color=color,
        time_base=OUT_TIME_BASE,
        rate=rate,
        duration_s=None,
        frames_from_header=None,
    )


def _bits(cfg: LiveEncodeConfig, pixels: int, rate: Fraction) -> tuple[int, bool]:
    """(bits per second, whether the user named them)."""
    asked = parse_bitrate(cfg.bitrate)
    if asked is not None:
        return asked, True
    wanted = round(pixels * float(rate) * BITS_PER_PIXEL[cfg.codec])
    return max(LEAST_BITS, min(MOST_BITS, wanted)), False


def _preset(encoder: str, pixels: int, cores: int) -> str:
    """The best one that leaves the machine to the network."""
    match encoder:
        case "libx264":
            return "superfast" if cores <= 4 or pixels > LARGE else "veryfast"
        case "libx265":
            return "ultrafast" if cores <= 8 or pixels > LARGE else "superfast"
        case "h264_nvenc" | "hevc_nvenc":
            return "p4"
    return ""


def _at_once(encoder: str, threads: int) -> dict[str, str]:
    """No look-ahead, no reordering, no frame threads, no key frames but the regular ones."""
    match encoder:
        case "libx264":
            # FFmpeg takes our thread type for a wish for frame threads, each of which keeps a picture back.
            return {
                "tune": "zerolatency",
                "forced-idr": "1",
                "x264-params": f"sliced-threads={int(threads > 1)}:scenecut=0",
            }
        case "libx265":
            parameters = f"scenecut=0:frame-threads=1:pools={threads}:log-level=warning"
            return {"tune": "zerolatency", "forced-idr": "1", "x265-params": parameters}
        case "h264_nvenc" | "hevc_nvenc":
            return {
                "tune": "ull",
                "zerolatency": "1",
                "delay": "0",
                "rc-lookahead": "0",
                "no-scenecut": "1",
                "forced-idr": "1",
            }
        case "h264_qsv" | "hevc_qsv":
            return {"async_depth": "1", "low_delay_brc": "1", "forced_idr": "1"}
        case "h264_amf" | "hevc_amf":
            return {"usage": "ultralowlatency", "forced_idr": "1"}
        case "h264_videotoolbox" | "hevc_videotoolbox":
            return {"realtime": "1", "prio_speed": "1"}
    return {}


def _rate_control(encoder: str, bits: int, *, is_named: bool) -> dict[str, str]:
    """The bit rate that was asked for; without one an even quality, which only `maxrate` limits, where that exists."""
    is_nvenc = encoder.endswith("_nvenc")
    if not is_named and encoder in _CRF:
        return {"crf": _CRF[encoder]}
    if not is_named and is_nvenc:
        return {"rc": "vbr", "cq": _CQ, "b": "0"}
    return {"b": str(bits)} | ({"rc": "cbr"} if is_nvenc else {})
