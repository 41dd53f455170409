"""An encoder between numbered pictures and a file, and the file read back."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamsr.config import EncodeConfig
from streamsr.frames import ColorTags, HdrMetadata, Packet, PixelLayout, Stamp, Upscaled, VideoInfo
from streamsr.media.encode import Encoder, EncodeStats, add_encoded_stream
from streamsr.media.encoders import EncoderSettings, choose_encoder
from streamsr.runtime.crew import Crew
from streamsr.runtime.slots import SlotRing
from tests.media import draw_planes

TICK = Fraction(1, 12800)
STEP = 512  # ticks from one picture to the next, at 25 pictures per second
FAST = {"libx264": "ultrafast", "libx265": "ultrafast", "libsvtav1": "13", "libvpx-vp9": "8"}
BT709 = ColorTags(1, 1, 1, False, 1)


def info_for(
    layout: PixelLayout | None = None,
    *,
    size: tuple[int, int] = (96, 64),
    color: ColorTags = BT709,
    hdr: HdrMetadata | None = None,
    rate: Fraction | None = Fraction(25),
) -> VideoInfo:
    return VideoInfo(
        path="clip",
        container="mp4",
        codec="h264",
        width=size[0],
        height=size[1],
        layout=layout or PixelLayout(),
        color=color,
        time_base=TICK,
        rate=rate,
        duration_s=None,
        frames_from_header=None,
        hdr=hdr,
    )


def settings_for(
    suffix: str = ".mp4",
    info: VideoInfo | None = None,
    *,
    sample_aspect: Fraction = Fraction(1),
    size: tuple[int, int] | None = None,
    **config: Any,
) -> EncoderSettings:
    """The chosen settings with the encoder's fastest preset, software only."""
    info = info or info_for()
    width, height = size or (info.width, info.height)
    found = choose_encoder(EncodeConfig(**config), info, width, height, sample_aspect, suffix)
    if "preset" in config or found.encoder not in FAST:
        return found
    return choose_encoder(
        EncodeConfig(**config | {"preset": FAST[found.encoder]}), info, width, height, sample_aspect, suffix
    )


def with_options(settings: EncoderSettings, **options: str) -> EncoderSettings:
    return replace(settings, options=tuple((dict(settings.options) | options).items()))


def even_pts(count: int) -> list[int]:
    return [STEP * number for number in range(count)]


def numbered(
    settings: EncoderSettings, ring: SlotRing, crew: Crew, pts: Sequence[int], draw: Callable[[int], Any] | None = None
) -> Iterator[Upscaled]:
    """Pictures 0, 1, ... in slots of `ring`, which are leased as soon as they are free."""
    for number, time in enumerate(pts):
        slot = ring.lease(crew.gate, 20.0)
        drawn = draw(number) if draw else draw_planes(number, settings.layout, settings.width, settings.height)
        planes = settings.layout.planes_of(slot.memory, settings.width, settings.height)
        for plane, values in zip(planes, drawn, strict=True):
            plane[:] = values
        yield Upscaled(Stamp(number, time, STEP, settings.time_base), slot)


@dataclass
class Encoded:
    packets: list[Packet]
    stats: EncodeStats
    path: Path


def encode(
    path: Path,
    settings: EncoderSettings,
    pts: Sequence[int],
    *,
    draw: Callable[[int], Any] | None = None,
    num_slots: int = 3,
) -> Encoded:
    """Pictures at the times `pts` through a real encoder process into the file `path`."""
    packets: list[Packet] = []
    num_bytes = settings.layout.num_bytes(settings.width, settings.height)
    with SlotRing(num_slots, num_bytes) as ring, av.open(str(path), "w") as output, Crew(20.0) as crew:
        encoder = Encoder(settings, crew, ring, 20.0)
        stream: Any = None
        for packet in encoder.encode(numbered(settings, ring, crew, pts, draw)):
            if stream is None:
                with av.open(io.BytesIO(encoder.stream_template())) as template:
                    stream = add_encoded_stream(output, template.streams.video[0])
                stream.time_base = packet.time_base
            packets.append(packet)
            made: Any = av.Packet(packet.data)
            made.pts, made.dts, made.duration = packet.pts, packet.dts, packet.duration
            made.time_base, made.is_keyframe, made.stream = packet.time_base, packet.is_keyframe, stream
            output.mux(made)
        assert ring.num_free == num_slots, "a slot was not given back"
        stats = encoder.stats
    return Encoded(packets, stats, path)


def decoded(path: Path, pix_fmt: str) -> list[tuple[Fraction, tuple[np.ndarray, ...]]]:
    """Time in seconds and planes of every picture of `path`, which must be stored as `pix_fmt`."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.format.name.replace("yuvj", "yuv") == pix_fmt
            assert frame.pts is not None
            assert frame.time_base is not None
            depth = frame.format.components[0].bits
            views: Any = frame.planes
            dtype = np.dtype(np.uint8 if depth == 8 else np.uint16)
            planes = tuple(
                np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)[
                    : plane.height, : plane.width
                ]
                for plane in views
            )
            found.append((frame.pts * frame.time_base, tuple(plane.copy() for plane in planes)))
    return found


def probe(path: Path, *, frames: bool = False) -> dict[str, Any]:
    """What ffprobe says of the video stream, `nb_read_frames` counted; with `frames`, of the first picture instead."""
    what = ["-show_frames", "-read_intervals", "%+#1"] if frames else ["-show_streams", "-count_frames"]
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", *what, "-of", "json", str(path)]
    if shutil.which(command[0]) is None:
        pytest.skip("needs ffprobe")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert not done.stderr.strip(), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["frames" if frames else "streams"][0]
    return found
