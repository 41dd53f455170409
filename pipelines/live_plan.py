"""What is decided about a live stream when its source has been opened for the first time, once for its whole life: the
size of the output, the models it may be made with, the encoder. Sources that come back otherwise are fitted into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streamsr.config import UpscaleConfig
from streamsr.frames import PixelLayout, VideoInfo
from streamsr.live.address import TargetAddress
from streamsr.live_config import StreamConfig
from streamsr.live_frames import OUT_TIME_BASE, AudioFormat, LiveInfo
from streamsr.media.encoders import EncoderSettings
from streamsr.media.live_audio import carrier_of
from streamsr.media.low_latency import low_latency
from streamsr.models.weights import Network
from streamsr.upscale.chain import network_scales
from streamsr.upscale.target import plan_target

RESIZE = "resize"
"""The lowest rung: plain resampling, which any machine can hold."""
LADDER = ("x4plus", "animevideov3", "lite")
"""From slow to fast. A model of one's own steps down to all of those that are faster than the slowest."""


@dataclass(frozen=True, slots=True)
class LivePlan:
    """`rungs`: the models from the wanted one down. `carrier`: the format in which sound travels to the targets."""

    width: int
    height: int
    rungs: tuple[str, ...]
    settings: EncoderSettings
    carrier: AudioFormat | None
    lines: tuple[str, ...]


def plan_stream(
    cfg: StreamConfig,
    info: LiveInfo,
    model: str,
    targets: tuple[TargetAddress, ...],
    load: Callable[[str], Network],
    is_here: Callable[[str], bool],
) -> LivePlan:
    """`model`: the wanted one by name or path; `load`, `is_here`: of models, by name. Raises ConfigError, WeightsError
    for what cannot be."""
    scales = (4,) if model == RESIZE else network_scales(load(model))
    target = plan_target(cfg.upscale, as_video(info), scales, square=True)
    layout = PixelLayout("420", 8)  # what every receiver of a live stream can show
    baseline = any(each.kind == "whip" for each in targets)
    encode = cfg.encode
    if any(each.kind == "hls" for each in targets):  # segments are cut at key frames
        encode = encode.model_copy(update={"gop_s": min(encode.gop_s, cfg.publish.segment_s)})
    settings = low_latency(encode, target.width, target.height, info.color, info.rate, baseline=baseline)
    assert settings.layout == layout, f"live pictures are {layout}"
    audio = None if cfg.publish.audio == "none" or info.audio is None else carrier_of(info.audio)
    width, height = as_video(info).upright_size
    lines = (
        f"{width}x{height} {info.codec} -> {target.width}x{target.height} with {model}",
        settings.description,
        "without sound" if audio is None else f"sound {audio.codec} {audio.rate} Hz {audio.layout}",
    )
    return LivePlan(target.width, target.height, rungs_of(cfg, model, is_here), settings, audio, lines)


def rungs_of(cfg: StreamConfig, model: str, is_here: Callable[[str], bool]) -> tuple[str, ...]:
    """The wanted model and, where the stream may adapt, the faster ones at hand below it."""
    if not cfg.policy.adapt or model == RESIZE:
        return (model,)
    below = LADDER[LADDER.index(model) + 1 :] if model in LADDER else LADDER[1:]
    return (model, *(name for name in below if is_here(name)), RESIZE)


def as_video(info: LiveInfo) -> VideoInfo:
    """A live source as the planning of files knows it."""
    return VideoInfo(
        path="the source",
        container=info.container,
        codec=info.codec,
        width=info.width,
        height=info.height,
        layout=info.layout,
        color=info.color,
        time_base=OUT_TIME_BASE,
        rate=info.rate,
        duration_s=None,
        frames_from_header=None,
        sample_aspect=info.sample_aspect,
        orientation=info.orientation,
    )


def wanted_model(cfg: UpscaleConfig, choose: Callable[[], str]) -> str:
    """The model's name or path; `choose` is asked for "auto"."""
    return choose() if cfg.model == "auto" else cfg.model
