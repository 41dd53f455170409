"""Pixels from NVIDIA DALI; their times, and all else that a file says of them, from FFmpeg.

DALI (tried: 2.4) reads a file by itself and gives 8-bit RGB. Without a GPU it decodes VP8, VP9 and MJPEG only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from streamsr.errors import SourceError
from streamsr.frames import MATRIX_BT470BG, MATRIX_SMPTE170M, ColorTags, Orientation
from streamsr.media import color, probe
from streamsr.media.color import RANGE_FULL, RANGE_LIMITED
from streamsr.media.decode import only, plain
from streamsr.media.deinterlace import FIELD_ORDERS
from streamsr.media.planes import SCALER

NOTICE = "DALI decodes to 8-bit RGB: depth and chroma sampling of the source are not kept"
CODECS = ("vp8", "vp9", "mjpeg", "h264", "hevc", "av1")
"""Those whose packets are pictures, one each, apart from VP8's hidden ones; in MPEG-4 one may hold none or two."""
FORMATS = ("yuv420p", "yuvj420p")
MOST_BYTES, MOST_PICTURES = 64 << 20, 16
"""Of RGB that DALI hands over at a time."""
REMEDY = "Use --decoder auto."


@dataclass(frozen=True, slots=True)
class _Track:
    """`times`: pts and duration of every picture in ticks, in order of display; `first`: the first key picture."""

    first: av.VideoFrame
    times: list[tuple[int, int]]


def require() -> Any:
    """The module nvidia.dali, or SourceError."""
    try:
        import nvidia.dali as dali  # slow, large, and an extra
    except (ImportError, OSError) as error:
        raise SourceError(
            "DALI is not installed", where="--decoder dali", remedy="Run: pip install 'streamsr[dali]'."
        ) from error
    return dali


def decoded(container: Any, stream: Any, path: str, *, gpu: bool) -> Iterator[av.VideoFrame]:
    """Every picture of the file in order of display, as gbrp of full range with its own pts and duration.

    `container`, `stream`: as PyAV has them open; nothing is read from them. `gpu`: the first CUDA device decodes.
    Reads the whole file once before the first picture comes, without decoding more than its key pictures. Raises
    SourceError for what DALI does not decode, would show differently, or does not give picture for picture."""
    dali = require()
    if stream.codec_context.name not in CODECS or container.streams.best("video") is not stream:
        raise _refusal(f"DALI does not decode {stream.codec_context.name} in track {stream.index} here", path)
    track = _scan(path, stream.index)
    tags = _checked(track.first, stream.codec_context, path)
    width, height = track.first.width, track.first.height
    sequence = max(1, min(MOST_PICTURES, MOST_BYTES // (width * height * 3)))
    start, tick, number, begin = track.times[0][0], Fraction(stream.time_base), 0, 0.0
    scaler = VideoReformatter()
    for index, second, rgb in _pixels(dali, path, stream.codec_context.name, sequence, gpu=gpu):
        if rgb.shape != (height, width, 3):
            raise _refusal(f"DALI gives pictures of {rgb.shape[1]}x{rgb.shape[0]} for {width}x{height}", path)
        if index != number or number >= len(track.times):
            raise _refusal(f"DALI gives picture {index} where {number} of {len(track.times)} is due", path)
        pts, duration = track.times[number]
        expected = float((pts - start) * tick)
        begin = second if number == 0 else begin
        if abs(second - begin - expected) > 1e-3:
            raise _refusal(f"DALI shows picture {number} at {second - begin:.3f} s, not at {expected:.3f} s", path)
        yield _stamped(_upright_colors(scaler, rgb, tags), pts, duration, tick, track.first)
        number += 1
    if number != len(track.times):
        raise _refusal(f"DALI gives {number} pictures of {len(track.times)}", path)


def _refusal(what: str, path: str) -> SourceError:
    return SourceError(what, where=path, remedy=REMEDY)


def _scan(path: str, index: int) -> _Track:
    """Reads all packets. Raises SourceError where one is damaged, timeless or never shown, or the size changes."""
    times, first = [], None
    try:
        with av.open(path, timeout=60.0, metadata_errors="replace") as container:
            stream: Any = container.streams[index]
            stream.thread_type = "SLICE"
            only(container, stream)
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                if packet.pts is None or packet.is_corrupt or packet.has_sidedata("encryption_info"):
                    raise _refusal("a packet is damaged, encrypted or without a time, which DALI does not mend", path)
                if _is_hidden(stream.codec_context.name, packet):
                    raise _refusal("VP8 with hidden pictures, which DALI counts as shown", path)
                if not packet.is_discard:
                    times.append((packet.pts, packet.duration or 0))
                if packet.is_keyframe:
                    first = _of_one_size(first, stream.codec_context.decode(packet), path)
            first = _of_one_size(first, stream.codec_context.decode(None), path)
    except av.FFmpegError as error:
        raise _refusal(f"the file is damaged, and DALI does not mend it: {plain(error)}", path) from error
    if first is None or not times:
        raise _refusal("no picture could be decoded", path)
    return _Track(first, sorted(times))


def _of_one_size(first: av.VideoFrame | None, pictures: list[av.VideoFrame], path: str) -> av.VideoFrame | None:
    """The first picture of all. Only key pictures bring another size, apart from VP9's, where DALI fails by itself."""
    for picture in pictures:
        first = first or picture
        if (picture.width, picture.height) != (first.width, first.height):
            raise _refusal("the size changes in mid-stream, which DALI does not show", path)
    return first


def _is_hidden(codec: str, packet: Any) -> bool:
    """VP8 pictures that are only referred to: show_frame is bit 4 of the frame tag (RFC 6386, 9.1)."""
    return codec == "vp8" and not bytes(packet)[0] & 0x10


def _checked(first: av.VideoFrame, context: Any, path: str) -> ColorTags:
    """The file's colours. Raises SourceError for pictures that are more than DALI's RGB can hold."""
    if first.format.name not in FORMATS:
        raise _refusal(f"DALI would change {first.format.name} pictures: it is used for 8-bit 4:2:0", path)
    if first.interlaced_frame or context.field_order in FIELD_ORDERS:
        raise _refusal("interlaced video is not decoded by DALI", path)
    if probe.orientation_of(first, context.name) != Orientation():
        raise _refusal("turned pictures are not decoded by DALI", path)
    size = first.width, first.height
    return color.source_tags(first, context, codec=context.name, is_rgb=False, upright_size=size, chroma_location=0)


def _pixels(dali: Any, path: str, codec: str, sequence: int, *, gpu: bool) -> Iterator[tuple[int, float, np.ndarray]]:
    """DALI's number, time in seconds and RGB (height, width, 3) of all pictures. Its threads end with this iterator."""
    pipeline = dali.Pipeline(
        batch_size=1,
        num_threads=1,
        device_id=0 if gpu else None,
        prefetch_queue_depth=1,
        exec_async=False,
        exec_pipelined=False,
    )
    with pipeline:
        outputs = dali.fn.experimental.readers.video(
            name="video",
            device="gpu" if gpu else "cpu",
            filenames=[os.path.abspath(path)],
            sequence_length=sequence,
            pad_mode="constant",  # "none" drops the last, shorter sequence; padding is numbered -1
            enable_frame_num="sequence",
            enable_timestamps=True,
        )
        pipeline.set_outputs(*outputs)
    try:
        pipeline.build()
        for _ in range(pipeline.reader_meta("video")["epoch_size"]):
            pictures, numbers, seconds = (np.asarray(output.as_cpu().at(0)) for output in pipeline.run())
            for number, second, rgb in zip(numbers.ravel(), seconds.ravel(), pictures, strict=True):
                if number >= 0:
                    yield int(number), float(second), rgb
    except RuntimeError as error:
        where = "on the GPU" if gpu else "without a GPU"
        raise _refusal(f"DALI does not decode this {codec} file {where}{_own_words(error)}", path) from error


def _own_words(error: RuntimeError) -> str:
    """What DALI says, without tracebacks; nothing for a file its reader put aside: that reason it prints itself."""
    text = str(error).rpartition("encountered:")[2].partition("C++ context")[0]
    return "" if "number of input samples: 0" in text else ": " + " ".join(text.split())[:200].rstrip(".")


def _upright_colors(scaler: VideoReformatter, rgb: np.ndarray, tags: ColorTags) -> av.VideoFrame:
    """gbrp by the file's own matrix: DALI takes every file for BT.601, which is undone in 4:4:4."""
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    options: dict[str, Any] = {"interpolation": int(SCALER), "threads": 1}
    levels = RANGE_FULL if tags.full_range else RANGE_LIMITED
    if tags.matrix not in (MATRIX_BT470BG, MATRIX_SMPTE170M):
        coded = {"dst_colorspace": MATRIX_BT470BG, "src_color_range": RANGE_FULL, "dst_color_range": levels}
        picture = scaler.reformat(picture, format="yuv444p", **coded, **options)
        options |= {"src_colorspace": tags.matrix, "src_color_range": levels}
    converted: av.VideoFrame = scaler.reformat(picture, format="gbrp", dst_color_range=RANGE_FULL, **options)
    return converted


def _stamped(picture: Any, pts: int, duration: int, tick: Fraction, first: Any) -> av.VideoFrame:
    """With its times, and the primaries and transfer of the file's pictures."""
    picture.pts, picture.duration, picture.time_base = pts, duration, tick
    picture.colorspace, picture.color_range = 0, RANGE_FULL
    picture.color_primaries, picture.color_trc = first.color_primaries, first.color_trc
    stamped: av.VideoFrame = picture
    return stamped
