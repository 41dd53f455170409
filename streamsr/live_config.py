"""The sections of a live job, as streamsr/config.py has those of files: typed, frozen, validated once at the edge."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from streamsr.config import RunConfig, Section, UpscaleConfig, parse_size, parse_time


def parse_seconds(value: Any) -> Any:
    """Seconds from "10s", "0.5", "1:30:00"; anything but text as it is. Raises ValueError."""
    return parse_time(value.strip().removesuffix("s")) if isinstance(value, str) else value


class IngestConfig(Section):
    transport: Literal["auto", "tcp", "udp"] = "tcp"
    """How RTSP brings its packets: tcp loses none, udp waits for none; auto tries tcp, then udp."""
    open_timeout_s: float = Field(10.0, gt=0)
    """How long a source may take to be opened."""
    stall_s: float = Field(10.0, gt=0)
    """No picture for so long means that the source hangs: it is closed and opened again."""
    retry: str = "auto"
    """forever, never, or how many times; auto: never before the first picture, forever after it."""
    loop: bool = False
    """Begin a file again at its end."""
    size: str | None = None
    """Size to ask a camera or a screen for, as 1280x720."""
    rate: float | None = Field(None, gt=0, le=240)
    """Pictures per second to ask a camera or a screen for."""

    @field_validator("open_timeout_s", "stall_s", mode="before")
    @classmethod
    def _times(cls, value: Any) -> Any:
        return parse_seconds(value)

    @field_validator("retry", mode="before")
    @classmethod
    def _retry(cls, value: Any) -> Any:
        text = str(value).strip().lower()
        if text not in ("auto", "forever", "never") and not text.isdigit():
            raise ValueError("write auto, forever, never or a number")
        return text

    @field_validator("size")
    @classmethod
    def _size(cls, value: str | None) -> str | None:
        if value is not None:
            parse_size(value)
        return value


class LivePolicyConfig(Section):
    drop: Literal["newest-wins", "wait"] = "newest-wins"
    """What happens when pictures come faster than they are upscaled: only the newest is kept, or the source waits."""
    stale_s: float = Field(0.5, gt=0)
    """A picture older than this is not worth upscaling any more (newest-wins)."""
    adapt: bool = False
    """Under overload go down to a faster model, at last to plain resizing, and up again when there is room."""
    slate: str = ""
    """Text to show over the last picture while the source is away; without it only the picture stays."""

    @field_validator("stale_s", mode="before")
    @classmethod
    def _times(cls, value: Any) -> Any:
        return parse_seconds(value)


class LiveEncodeConfig(Section):
    codec: Literal["h264", "hevc"] = "h264"
    """Video codec. Everything plays h264."""
    encoder: str = "auto"
    """FFmpeg's name of the encoder, as libx264 or h264_nvenc; auto: hardware where it works, else software."""
    preset: str = "auto"
    """Speed of the encoder, in its own words; auto suits the size and the device."""
    bitrate: str = "auto"
    """Bits per second, as 8M or 800k; auto suits the size and the rate."""
    gop_s: float = Field(2.0, gt=0, le=30)
    """Seconds between two key frames: how long a new viewer waits at most."""

    @field_validator("gop_s", mode="before")
    @classmethod
    def _times(cls, value: Any) -> Any:
        return parse_seconds(value)

    @field_validator("bitrate", mode="before")
    @classmethod
    def _bitrate(cls, value: Any) -> Any:
        parse_bitrate(str(value))
        return str(value)


class PublishConfig(Section):
    audio: Literal["copy", "transcode", "none"] = "copy"
    """copy keeps the packets wherever the target takes the codec; transcode always makes anew; none leaves it out."""
    stall_s: float = Field(10.0, gt=0)
    """A target that takes nothing for so long is closed and opened again."""
    queue_s: float = Field(4.0, gt=0, le=60)
    """What may wait for a slow target, in seconds; beyond it pictures up to the next key frame are left out."""
    segment_s: float = Field(1.0, gt=0, le=20)
    """Length of an HLS segment."""
    segments: int = Field(6, ge=3, le=100)
    """HLS segments in the playlist."""
    rotate_s: float = Field(3600.0, gt=0)
    """A recording begins a new file after so long."""
    listen: str = "127.0.0.1:8080"
    """Where the HLS folder and its player page are served, HOST:PORT; "none" does not serve it."""

    @field_validator("stall_s", "queue_s", "segment_s", "rotate_s", mode="before")
    @classmethod
    def _times(cls, value: Any) -> Any:
        return parse_seconds(value)


class StatusConfig(Section):
    interval_s: float = Field(10.0, gt=0)
    """Seconds between two lines of status."""
    file: str | None = None
    """Keep the status in this JSON file."""
    listen: str = "none"
    """Serve /status (JSON), /metrics (Prometheus) and /health here, HOST:PORT; none: nowhere."""

    @field_validator("interval_s", mode="before")
    @classmethod
    def _times(cls, value: Any) -> Any:
        return parse_seconds(value)


class StreamConfig(Section):
    """All of one stream that may differ between the streams of a process."""

    ingest: IngestConfig = IngestConfig()
    upscale: UpscaleConfig = UpscaleConfig()
    policy: LivePolicyConfig = LivePolicyConfig()
    encode: LiveEncodeConfig = LiveEncodeConfig()
    publish: PublishConfig = PublishConfig()


class RestreamConfig(StreamConfig):
    """A restream from the command line: one stream, and what concerns the process."""

    status: StatusConfig = StatusConfig()
    run: RunConfig = RunConfig()


class NamedStream(BaseModel):
    """One stream: a name for logs and metrics, its source, its targets, its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    source: str
    targets: tuple[str, ...] = Field(min_length=1)
    settings: StreamConfig = StreamConfig()


def parse_bitrate(text: str) -> int | None:
    """Bits per second from "8M", "800k" or "2500000"; None for "auto". Raises ValueError."""
    words = text.strip().lower()
    if words == "auto":
        return None
    factor = {"k": 1_000, "m": 1_000_000, "g": 1_000_000_000}.get(words[-1:], 1)
    try:
        bits = round(float(words.rstrip("kmg")) * factor)
    except ValueError:
        bits = 0
    if not 10_000 <= bits <= 1_000_000_000:
        raise ValueError(f"{text!r} is not a bit rate; write 8M, 800k or auto")
    return bits
