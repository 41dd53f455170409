"""Which encoder a job uses, and with what settings: the codec's choice, the pixel format's, and whether it opens."""

from __future__ import annotations

import difflib
import functools
import os
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.video.codeccontext import VideoCodecContext

from streamsr.errors import ConfigError
from streamsr.frames import MATRIX_BT709, MATRIX_RGB, ColorTags, HdrMetadata, PixelLayout, VideoInfo
from streamsr.media.encoder_layouts import choose_layout, encoder_format, layouts_of, named_layout
from streamsr.media.mastering import WRITERS, mastering_parameters
from streamsr.media.quality import frugal_parameters, preset_options, quality_options

if TYPE_CHECKING:  # pydantic does not belong into the encoder process
    from streamsr.config import EncodeConfig

HARDWARE = {
    "h264": ("h264_nvenc", "h264_videotoolbox", "h264_qsv", "h264_amf"),
    "hevc": ("hevc_nvenc", "hevc_videotoolbox", "hevc_qsv", "hevc_amf"),
    "av1": ("av1_nvenc", "av1_qsv"),
    "vp9": ("vp9_qsv",),
    "prores": ("prores_videotoolbox",),
    "ffv1": (),
}
SOFTWARE = {
    "h264": "libx264",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "prores": "prores_ks",
    "ffv1": "ffv1",
}
# What players read, by FFmpeg's muxer; Matroska holds everything.
CODECS_IN = {
    ".mp4": ("h264", "hevc", "av1", "vp9"),
    ".m4v": ("h264", "hevc", "av1", "vp9"),
    ".mov": ("h264", "hevc", "prores"),
    ".mkv": tuple(SOFTWARE),
    ".webm": ("vp9", "av1"),
    ".ts": ("h264", "hevc"),
    ".m2ts": ("h264", "hevc"),
    ".mts": ("h264", "hevc"),
}
_IN_BAND_HEADERS = (".ts", ".m2ts", ".mts")
_PARAMETERS = {"libx264": "x264-params", "libx265": "x265-params", "libsvtav1": "svtav1-params"}
_MOST_THREADS = 16  # each of x264's holds a picture of its own
_LEAST_X265 = (
    64  # with both sides below it, x265 4.x has been seen to corrupt its own heap (34x18 always, 36x34 at times)
)
_LONGEST_GOP_S, _LONGEST_GOP = 5, 250
_CHROMA_LOCATIONS = {1: "left", 2: "center", 3: "topleft", 4: "top", 5: "bottomleft", 6: "bottom"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSettings:
    """Everything the encoder process needs. `layout` is how pictures lie in the slots, `pix_fmt` what the encoder is
    given: the same samples, perhaps interleaved. `global_header`: the container keeps the parameter sets."""

    codec: str
    encoder: str
    options: tuple[tuple[str, str], ...]
    layout: PixelLayout
    pix_fmt: str
    width: int
    height: int
    sample_aspect: Fraction
    color: ColorTags
    time_base: Fraction
    rate: Fraction
    gop: int
    threads: int
    global_header: bool
    hdr: HdrMetadata | None
    description: str


def choose_encoder(
    cfg: EncodeConfig, info: VideoInfo, width: int, height: int, sample_aspect: Fraction, suffix: str
) -> EncoderSettings:
    """The encoder for pictures of `width` x `height` from a source like `info` into a file with `suffix` (".mp4").

    Raises ConfigError for what no encoder here or no container can do, with what is possible instead."""
    suffix = suffix.lower()
    codec = choose_codec(cfg, info, suffix)
    name, layout, why = _choose_name(cfg, codec, info, width, height, suffix)
    codec = av.Codec(name, "w").canonical_name
    if (layout.subsampling != "444" and width % 2) or (layout.subsampling == "420" and height % 2):
        remedy = "Choose an even --to, or --codec ffv1 --pix-fmt yuv444p."
        raise ConfigError(f"{layout.pix_fmt} needs even sides, not {width}x{height}", where="output", remedy=remedy)
    if sample_aspect != 1 and not keeps_sample_aspect(codec, suffix):
        remedy = "Name the output .mp4 or .mov, or use --codec h264 or hevc."
        what = f"{suffix} files do not keep a sample aspect of {sample_aspect} for {codec}"
        raise ConfigError(what, where="output", remedy=remedy)
    cores = _num_cores()
    if name == "libx265" and max(width, height) < _LEAST_X265:
        what = f"libx265 is not safe with pictures as small as {width}x{height}"
        raise ConfigError(what, where="output", remedy="Use --codec h264 or av1, or a larger --scale.")
    rate = info.rate or Fraction(25)
    if name == "libsvtav1":
        rate = min(rate, Fraction(240))  # it refuses more; the times of the pictures are kept all the same
    color = _output_color(info.color, info.layout, layout)
    is_444 = layout.subsampling == "444"
    options = quality_options(name, cfg.quality, is_444=is_444)
    options |= preset_options(name, cfg.preset, pixels=width * height, cores=cores, is_444=is_444)
    options |= _special_options(name, color, info.hdr, width * height, cores)
    return EncoderSettings(
        codec=codec,
        encoder=name,
        options=tuple(options.items()),
        layout=layout,
        pix_fmt=encoder_format(name, layout),
        width=width,
        height=height,
        sample_aspect=sample_aspect,
        color=color,
        time_base=info.time_base,
        rate=rate,
        gop=max(1, min(_LONGEST_GOP, round(rate * _LONGEST_GOP_S))),
        threads=min(cores, _MOST_THREADS),
        global_header=suffix not in _IN_BAND_HEADERS,
        hdr=info.hdr,
        description=f"{codec} by {name}, {layout.pix_fmt}, quality {cfg.quality}: {why}",
    )


def keeps_sample_aspect(codec: str, suffix: str) -> bool:
    """Whether players learn the shape of the samples: in these containers only from the bitstream of H.264 and HEVC,
    as PyAV cannot hand it to FFmpeg's Matroska muxer."""
    return suffix not in (".mkv", ".webm") or codec in ("h264", "hevc")


def choose_codec(cfg: EncodeConfig, info: VideoInfo, suffix: str) -> str:
    """The codec's name for a source like `info` into a file with `suffix`. Raises ConfigError for impossible pairs."""
    if suffix not in CODECS_IN:
        raise ConfigError(f"cannot write {suffix or 'nameless'} files", remedy=f"Use one of {', '.join(CODECS_IN)}.")
    codec: str = cfg.codec
    if cfg.encoder != "auto":
        codec = _codec_of(cfg.encoder)
        if cfg.codec not in ("auto", codec):
            remedy = f"Use --codec {codec}, or leave one of the two away."
            raise ConfigError(f"{cfg.encoder} makes {codec}, not {cfg.codec}", where="encode.encoder", remedy=remedy)
    if codec == "auto":
        wanted = named_layout(cfg.pix_fmt) or info.layout
        is_deep = wanted.depth > 8 or info.color.is_hdr
        if suffix != ".webm":
            return "hevc" if is_deep else "h264"
        vp9_is_deep = any(layout.depth > 8 for layout in layouts_of(SOFTWARE["vp9"]))
        return "av1" if is_deep and not vp9_is_deep else "vp9"
    if codec not in CODECS_IN[suffix]:
        homes = " or ".join(name for name, codecs in CODECS_IN.items() if codec in codecs)
        remedy = f"Name the output {homes}, or use --codec {', '.join(CODECS_IN[suffix])}."
        raise ConfigError(f"{suffix} files do not hold {codec}", where="encode.codec", remedy=remedy)
    return codec


def _codec_of(encoder: str) -> str:
    """What `encoder` makes. Raises ConfigError if there is no such encoder, or none for a codec of ours."""
    known = sorted(name for codec in SOFTWARE for name in (*HARDWARE[codec], SOFTWARE[codec]) if _exists(name))
    codec = av.Codec(encoder, "w").canonical_name if _exists(encoder) else None
    if codec not in SOFTWARE:
        near = difflib.get_close_matches(encoder, known, n=1, cutoff=0.4)
        remedy = f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."
        what = "no encoder" if codec is None else f"{codec} is not one of our codecs:"
        raise ConfigError(f"{what} {encoder!r}", where="encode.encoder", remedy=remedy)
    return codec


def _exists(encoder: str) -> bool:
    try:
        return av.Codec(encoder, "w").name == encoder  # a codec's name finds its first encoder
    except ValueError:
        return False


def _choose_name(
    cfg: EncodeConfig, codec: str, info: VideoInfo, width: int, height: int, suffix: str
) -> tuple[str, PixelLayout, str]:
    """(encoder, layout, why)."""
    if cfg.encoder != "auto":
        layout = choose_layout(cfg.pix_fmt, info.layout, cfg.encoder)
        if not encoder_works(cfg.encoder, layout, width, height):
            remedy = f"Use --encoder {SOFTWARE[codec]}; `doctor` lists the encoders that open."
            what = f"{cfg.encoder} does not open here for {layout.pix_fmt} at {width}x{height}"
            raise ConfigError(what, where="encode.encoder", remedy=remedy)
        return cfg.encoder, layout, "as asked"
    wanted = choose_layout(cfg.pix_fmt, info.layout, SOFTWARE[codec])
    if info.hdr is not None and SOFTWARE[codec] in WRITERS:
        return SOFTWARE[codec], wanted, "it can write the HDR10 metadata"
    candidates = [*HARDWARE[codec]]
    if codec == "h264" and cfg.codec == "auto" and encoder_works("h264_nvenc", wanted, 256, 256):
        candidates += HARDWARE["hevc"]  # the same chip writes pictures that are too large for H.264 as HEVC
    for name in candidates:
        if _exists(name) and wanted in layouts_of(name) and encoder_works(name, wanted, width, height):
            return name, wanted, "hardware that works here"
    return SOFTWARE[codec], wanted, "no hardware encoder opens here" if candidates else "the encoder there is"


@functools.cache
def encoder_works(name: str, layout: PixelLayout, width: int, height: int) -> bool:
    """Whether `name` really opens for such pictures. Hardware encoders are tried: they exist without their device.

    In memory of this process and of the device for a moment; software encoders are taken at their word."""
    if not any(name in names for names in HARDWARE.values()):
        return True
    try:
        context = av.CodecContext.create(name, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = width, height, encoder_format(name, layout)
        context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
        frame = av.VideoFrame(width, height, context.pix_fmt)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts = 0
        return bool(context.encode(frame) + context.encode(None))
    except (av.FFmpegError, OSError, ValueError, RuntimeError):
        return False


def _output_color(color: ColorTags, source: PixelLayout, layout: PixelLayout) -> ColorTags:
    """The source's tags; a picture that changes between RGB and Y'CbCr becomes BT.709 of limited range, or RGB."""
    if layout.is_rgb:
        return ColorTags(MATRIX_RGB, color.primaries, color.transfer, full_range=True)
    matrix_is_open = source.is_rgb or color.matrix == MATRIX_RGB
    return ColorTags(
        MATRIX_BT709 if matrix_is_open else color.matrix,
        color.primaries,
        color.transfer,
        color.full_range and not matrix_is_open,
        color.chroma_location or 1,
    )


def _special_options(
    encoder: str, color: ColorTags, hdr: HdrMetadata | None, pixels: int, cores: int
) -> dict[str, str]:
    """Options that no field of FFmpeg's encoder carries, and frugality at large sizes."""
    options = {"chroma_sample_location": _CHROMA_LOCATIONS[color.chroma_location]} if color.chroma_location else {}
    parameters = frugal_parameters(encoder, pixels=pixels, cores=cores)
    parameters |= mastering_parameters(encoder, hdr, is_pq=color.transfer == 16)
    if parameters:
        options[_PARAMETERS[encoder]] = ":".join(f"{key}={value}" for key, value in parameters.items())
    return options


def _num_cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
