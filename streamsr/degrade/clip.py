"""A clip's share of a degradation: which steps of a video come, in which order, and a clip made of a still."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from streamsr.degrade.video_recipe import Video
from streamsr.degrade.video_steps import BandingStep, ChromaStep, CodecStep, HoldStep, InterlaceStep
from streamsr.frames import Subsampling
from streamsr.media.chroma import Scaling
from streamsr.media.fields import LEAST_ROWS, Deinterlacing
from streamsr.media.generation import CODECS, Effort, Generation

VideoStep = HoldStep | BandingStep | InterlaceStep | ChromaStep | CodecStep
Choice = TypeVar("Choice")

STILL_PROB, ZOOM_PROB = 0.25, 0.4
"""Chances that a clip made of a still does not move at all, and that one which moves also zooms."""
FASTEST_PX, FASTEST_ZOOM = 8, 0.01
"""Most that it moves from picture to picture: pixels of the ground truth in each direction, share of the size."""


def video_steps(
    video: Video, rng: np.random.Generator, size: tuple[int, int], frames: int = 1
) -> tuple[VideoStep, ...]:
    """What happens to a clip of `frames` pictures of `size` (H, W), drawn once for all of them.

    In the order of a video's life: levels are lost, pictures are held, interlaced and back, colour is reduced, then
    the generations of codecs. Pictures too low for two fields are not interlaced."""
    steps: list[VideoStep] = []
    bits = int(rng.integers(video.banding.bits[0], video.banding.bits[1] + 1))
    if rng.random() < video.banding.prob:
        steps.append(BandingStep(bits, bool(rng.random() < video.banding.dither_prob)))
    run = int(rng.integers(2, video.hold.longest + 1))
    if rng.random() < video.hold.prob and frames > 1:
        steps.append(HoldStep(run))
    if rng.random() < video.interlacing.prob and size[0] >= LEAST_ROWS:
        ways: dict[Deinterlacing, float] = {
            "bwdif": video.interlacing.bwdif,
            "yadif": video.interlacing.yadif,
            "lines": video.interlacing.lines,
        }
        steps.append(InterlaceStep(_chosen(rng, ways), bool(rng.random() < 0.5)))
    if rng.random() < video.chroma.prob:
        is_half = rng.random() * (video.chroma.half + video.chroma.wide) < video.chroma.half
        up: Scaling = "nearest" if rng.random() < video.chroma.nearest_prob else "bicubic"
        steps.append(ChromaStep("420" if is_half else "422", up))
    for number in range(_chosen(rng, dict(enumerate(video.generations)))):
        name = "video codec" if number == 0 else f"video codec {number + 1}"
        steps.append(CodecStep(_draw_generation(video, rng), name))
    return tuple(steps)


def as_clip(gt_13HW: Tensor, frames: int, seed: int) -> Tensor:
    """`frames` pictures T3HW of a still under a camera that moves evenly; the last one is the still itself, untouched.

    Earlier ones show it shifted and often a little smaller or larger, by whole pixels and without filtering, mirrored
    beyond the border. A pure function of its arguments, on the still's device."""
    if gt_13HW.ndim != 4 or gt_13HW.shape[0] != 1:
        raise ValueError(f"not one picture: {tuple(gt_13HW.shape)}")
    rng = np.random.default_rng((seed, frames))
    moves = rng.random() >= STILL_PROB
    down, right = (rng.uniform(-FASTEST_PX, FASTEST_PX, 2) * moves).tolist()
    zoom = float(rng.uniform(-FASTEST_ZOOM, FASTEST_ZOOM)) * (moves and rng.random() < ZOOM_PROB)
    height, width = gt_13HW.shape[-2:]
    pictures = []
    for ago in range(frames - 1, -1, -1):
        rows = _seen(height, 1 + zoom * ago, down * ago).to(gt_13HW.device)
        columns = _seen(width, 1 + zoom * ago, right * ago).to(gt_13HW.device)
        pictures.append(gt_13HW[0].index_select(1, rows).index_select(2, columns))
    return torch.stack(pictures)


def _seen(side: int, scale: float, shift: float) -> Tensor:
    """Which line of the still is seen at each place: `scale` about the middle, then `shift`; borders are mirrors."""
    middle = (side - 1) / 2
    places = torch.round((torch.arange(side, dtype=torch.float64) - middle) * scale + middle + shift).long()
    period = max(2 * side - 2, 1)
    places = places % period
    return torch.minimum(places, period - places).clamp(0, side - 1)


def _draw_generation(video: Video, rng: np.random.Generator) -> Generation:
    name = _chosen(rng, {name: coding.share for name, coding in video.codecs.items()})
    facts, coding = CODECS[name], video.codecs[name]
    quality = int(rng.integers(coding.quality[0], coding.quality[1] + 1))
    gop = int(rng.integers(video.gop[0], video.gop[1] + 1))
    b_frames = int(rng.integers(1, facts.most_b_frames + 1)) if facts.most_b_frames else 0
    b_frames *= int(rng.random() < video.b_frames_prob)
    richer: tuple[Subsampling, ...] = facts.chroma[1:] or ("420",)
    chroma = richer[rng.integers(len(richer))] if rng.random() < video.full_color_prob else "420"
    effort: Effort = "good" if rng.random() < video.good_prob else "fast"
    return Generation(codec=name, quality=quality, gop=gop, b_frames=b_frames, chroma=chroma, effort=effort)


def _chosen(rng: np.random.Generator, shares: Mapping[Choice, float]) -> Choice:
    names = list(shares)
    weights = np.array([shares[name] for name in names], np.float64)
    return names[rng.choice(len(names), p=weights / weights.sum())]
