"""The values of a live stream: what an ingest process says, what a picture carries on its way, what targets are sent.

Moments such as `arrived_s` are seconds of `time.monotonic()`, which all processes of a machine share; `time_s` counts
seconds of the source's own clock; `out_s` seconds of the output's timeline, from 0."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from streamsr.frames import ColorTags, Orientation, PixelLayout

OUT_TIME_BASE = Fraction(1, 90_000)
"""Of all video of a live stream."""
UPRIGHT = Orientation()


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """What a decoder or a muxer must know of an audio track. `codec`: FFmpeg's name (aac, opus, mp3, pcm_mulaw, ...);
    `layout` as stereo, mono; `frame_samples`: samples per packet, 0 where packets differ; `extradata` as FFmpeg's."""

    codec: str
    rate: int
    layout: str
    channels: int
    frame_samples: int = 0
    extradata: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if min(self.rate, self.channels) < 1 or self.frame_samples < 0:
            raise ValueError(f"not an audio format: {self!r}")


@dataclass(frozen=True, slots=True)
class LiveInfo:
    """What a live source says when it has been opened, once per session. `session` counts openings from 0. `rate` is
    pictures per second, None where there is no believable one. `audio` is None without a usable track."""

    session: int
    container: str
    codec: str
    width: int
    height: int
    layout: PixelLayout
    color: ColorTags
    rate: Fraction | None
    sample_aspect: Fraction = Fraction(1)
    orientation: Orientation = UPRIGHT
    audio: AudioFormat | None = None

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1 or self.sample_aspect <= 0:
            raise ValueError(f"not a live source: {self!r}")


@dataclass(frozen=True, slots=True, eq=False)
class LivePicture:
    """A decoded picture in a slot of its ingest, packed as `PixelLayout.planes_of` reads it. Whoever has it releases
    `slot`, once. `info` is that of the picture: after a change of size in mid-stream a new one of the same session.

    `time_s`: the source's time; `arrived_s`: when its packet had come in; `decoded_s`: when it lay in the slot."""

    slot: Any = field(repr=False)
    info: LiveInfo = field(repr=False)
    time_s: float
    arrived_s: float
    decoded_s: float


@dataclass(frozen=True, slots=True, eq=False)
class LiveAudio:
    """One audio packet. From an ingest `time_s` is the source's time, after the timeline it is the output's."""

    data: bytes = field(repr=False)
    format: AudioFormat = field(repr=False)
    time_s: float
    duration_s: float
    arrived_s: float


@dataclass(frozen=True, slots=True, eq=False)
class LiveVideo:
    """One encoded picture on its way to the targets. `pts`, `dts` count OUT_TIME_BASE. `arrived_s` is that of the
    source picture, None for a held one."""

    data: bytes = field(repr=False)
    pts: int
    dts: int
    is_keyframe: bool
    arrived_s: float | None = None
