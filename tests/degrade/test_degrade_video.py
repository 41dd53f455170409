"""The video recipe: what is drawn, how often, in which order; each step on pictures; coherent over the clip."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from streamsr.degrade.clip import VideoStep, video_steps
from streamsr.degrade.recipe import load_recipe
from streamsr.degrade.video_recipe import Video
from streamsr.degrade.video_steps import BandingStep, ChromaStep, CodecStep, HoldStep, InterlaceStep
from streamsr.media.generation import CODECS, Generation
from tests.media import read_number
from tests.media_source.test_media_recode import numbered, scene

EVERYTHING: dict[str, Any] = {
    "hold": {"prob": 0.3, "longest": 4},
    "banding": {"prob": 0.4, "bits": [4, 6], "dither_prob": 0.25},
    "interlacing": {"prob": 0.5, "bwdif": 2, "yadif": 1, "lines": 1},
    "chroma": {"prob": 0.6, "half": 3, "wide": 1, "nearest_prob": 0.5},
    "generations": [0.2, 0.5, 0.3],
    "codecs": {
        "h264": {"share": 4, "quality": [20, 29]},
        "vp8": {"share": 2, "quality": [10, 40]},
        "mpeg4": {"share": 2, "quality": [2, 31]},
        "vp9": {"share": 0, "quality": [20, 30]},
    },
    "gop": [2, 5],
    "b_frames_prob": 0.5,
    "full_color_prob": 0.5,
    "good_prob": 0.25,
}


def drawn(video: Video, seed: int, frames: int = 3) -> tuple[VideoStep, ...]:
    return video_steps(video, np.random.default_rng(seed), (64, 64), frames)


def tensor(frames: list[Any]) -> Tensor:
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


def share(hits: int, of: int) -> float:
    return hits / of


def test_chances_are_those_of_the_recipe() -> None:
    video, draws = Video.model_validate(EVERYTHING), 6000
    all_steps = [drawn(video, seed) for seed in range(draws)]
    kinds = Counter(type(step) for steps in all_steps for step in steps)
    within = 4 * (0.25 / draws) ** 0.5  # four standard deviations of a share
    for kind, prob in ((HoldStep, 0.3), (BandingStep, 0.4), (InterlaceStep, 0.5), (ChromaStep, 0.6)):
        assert abs(share(kinds[kind], draws) - prob) < within, kind
    counts = Counter(sum(isinstance(step, CodecStep) for step in steps) for steps in all_steps)
    for number, prob in enumerate((0.2, 0.5, 0.3)):
        assert abs(share(counts[number], draws) - prob) < within
    flat = [step for steps in all_steps for step in steps]
    _check(Counter(step.bits for step in flat if isinstance(step, BandingStep)), {4: 1, 5: 1, 6: 1})
    _check(Counter(step.is_dithered for step in flat if isinstance(step, BandingStep)), {True: 1, False: 3})
    _check(Counter(step.run for step in flat if isinstance(step, HoldStep)), {2: 1, 3: 1, 4: 1})
    _check(Counter(step.how for step in flat if isinstance(step, InterlaceStep)), {"bwdif": 2, "yadif": 1, "lines": 1})
    _check(Counter(step.is_top_first for step in flat if isinstance(step, InterlaceStep)), {True: 1, False: 1})
    _check(Counter(step.chroma for step in flat if isinstance(step, ChromaStep)), {"420": 3, "422": 1})
    _check(Counter(step.up for step in flat if isinstance(step, ChromaStep)), {"nearest": 1, "bicubic": 1})
    made = [step.generation for step in flat if isinstance(step, CodecStep)]
    _check(Counter(one.codec for one in made), {"h264": 4, "vp8": 2, "mpeg4": 2})
    _check(Counter(one.gop for one in made), {2: 1, 3: 1, 4: 1, 5: 1})
    _check(Counter(one.effort for one in made), {"good": 1, "fast": 3})
    x264 = [one for one in made if one.codec == "h264"]
    _check(Counter(one.quality for one in x264), dict.fromkeys(range(20, 30), 1))
    _check(Counter(one.b_frames for one in x264), {0: 3, 1: 1, 2: 1, 3: 1})
    _check(Counter(one.chroma for one in x264), {"420": 2, "422": 1, "444": 1})


def _check(found: Counter[Any], weights: dict[Any, float]) -> None:
    """Shares of what was found against weights, within 4.5 standard deviations."""
    assert set(found) == set(weights)
    total = sum(found.values())
    for name, weight in weights.items():
        p = weight / sum(weights.values())
        assert abs(found[name] / total - p) < 4.5 * (p * (1 - p) / total) ** 0.5, (name, found, weights)


def test_the_same_seed_draws_the_same_steps() -> None:
    video = Video.model_validate(EVERYTHING)
    assert drawn(video, 5) == drawn(video, 5)
    assert len({drawn(video, seed) for seed in range(50)}) > 30
    assert drawn(Video(generations=(1.0,)), 0) == ()


def test_steps_come_in_the_order_of_a_videos_life() -> None:
    order = [BandingStep, HoldStep, InterlaceStep, ChromaStep, CodecStep]
    video = Video.model_validate(EVERYTHING)
    for seed in range(300):
        places = [order.index(type(step)) for step in drawn(video, seed)]
        assert places == sorted(places)


def test_a_single_picture_is_not_held_and_a_low_one_not_interlaced() -> None:
    video = Video.model_validate({**EVERYTHING, "hold": {"prob": 1}, "interlacing": {"prob": 1}})
    for seed in range(40):
        assert not any(isinstance(step, HoldStep) for step in drawn(video, seed, frames=1))
        low = video_steps(video, np.random.default_rng(seed), (6, 64), 3)
        assert not any(isinstance(step, InterlaceStep) for step in low)


@pytest.mark.parametrize("name", ["animevideo", "lite"])
def test_every_step_of_the_recipes_gives_as_many_pictures(name: str) -> None:
    video = load_recipe(name).video
    assert video is not None
    x = tensor(scene(4))
    names = set()
    for seed in range(40):
        for step in drawn(video, seed, frames=4):
            names.add(step.name)
            once, again = step.apply(x), step.apply(x)
            assert once.shape == x.shape
            assert once.dtype == torch.float32
            assert 0 <= float(once.min()) <= float(once.max()) <= 1
            assert torch.equal(once, again)
            assert step.parameters
            assert all(isinstance(value, str | int | float) for value in step.parameters.values())
    assert {"video codec", "video chroma"} <= names
    if name == "animevideo":
        assert {"video codec 2", "video hold", "video interlace", "video banding"} <= names


def test_almost_half_of_lite_is_clean() -> None:
    video = load_recipe("lite").video
    assert video is not None
    coded = sum(any(isinstance(step, CodecStep) for step in drawn(video, seed)) for seed in range(2000))
    assert 1000 < coded < 1200
    qualities = [
        step.generation.quality
        for seed in range(500)
        for step in drawn(video, seed)
        if isinstance(step, CodecStep) and step.generation.codec == "h264"
    ]
    assert min(qualities) == 17
    assert max(qualities) == 32


def test_a_codec_sees_the_clip_as_one() -> None:
    """The same pictures alone and in a clip are coded differently: what follows a key picture is predicted from it."""
    x = tensor(scene(4))
    step = CodecStep(Generation(codec="h264", quality=34, gop=12))
    together, alone = step.apply(x), torch.cat([step.apply(picture[None]) for picture in x])
    assert torch.equal(together[0], alone[0])
    assert not torch.equal(together[1:], alone[1:])


def test_a_codec_keeps_the_order() -> None:
    x = tensor(numbered(7, 5))
    for codec, facts in CODECS.items():
        step = CodecStep(Generation(codec=codec, quality=facts.quality[0], gop=4, b_frames=facts.most_b_frames))
        found = [read_number(picture[1].numpy()) for picture in step.apply(x)]
        assert found == [7, 8, 9, 10, 11], codec


def test_a_codec_works_on_what_is_outside_the_range() -> None:
    x = tensor(scene(2)) * 1.4 - 0.2
    step = CodecStep(Generation(codec="mpeg2", quality=2))
    assert torch.equal(step.apply(x), step.apply(x.clamp(0, 1)))
    assert step.apply(x.requires_grad_()).requires_grad is False


@pytest.mark.parametrize(
    ("run", "frames", "order"),
    [(2, 4, (1, 1, 3, 3)), (2, 5, (0, 2, 2, 4, 4)), (3, 5, (1, 1, 4, 4, 4)), (2, 3, (0, 2, 2)), (4, 2, (1, 1))],
)
def test_held_pictures(run: int, frames: int, order: tuple[int, ...]) -> None:
    x = torch.rand(frames, 3, 4, 4)
    held = HoldStep(run)
    assert held.order(frames) == order
    assert torch.equal(held.apply(x), x[list(order)])
    assert torch.equal(held.apply(x)[-1], x[-1]), "the last picture stays"


@pytest.mark.parametrize("bits", [1, 3, 5, 8])
def test_banding(bits: int) -> None:
    ramp = torch.linspace(0, 1, 64 * 64).view(1, 1, 64, 64).expand(2, 3, 64, 64)
    plain, dithered = BandingStep(bits, False).apply(ramp), BandingStep(bits, True).apply(ramp)
    step = 1 / (2**bits - 1)
    for result in (plain, dithered):
        assert len(result.unique()) == 2**bits
        assert (result[0] == result[1]).all(), "the same pattern on every picture"
        assert float((result - ramp).abs().max()) <= step * 1.0001
    assert float((plain - ramp).abs().max()) <= step / 2 * 1.0001
    cells = torch.nn.functional.avg_pool2d(dithered - ramp, 4)  # dither keeps the mean of its 4 x 4 cells
    assert float(cells.abs().max()) < step / 8


def test_interlacing_leaves_still_pictures_nearly_alone_and_hurts_moving_ones() -> None:
    moving, still = tensor(scene(4)), tensor([scene(1)[0]] * 4)
    for how in ("bwdif", "yadif"):
        step = InterlaceStep(how, True)
        assert float((step.apply(still) - still).abs().mean()) < 0.3 * float((step.apply(moving) - moving).abs().mean())
        assert float((step.apply(moving) - moving).abs().mean()) > 0.002
    top, bottom = (InterlaceStep("lines", first).apply(moving) for first in (True, False))
    assert torch.equal(top[:, :, 0::2], (moving[:, :, 0::2] * 255).round() / 255)
    assert torch.equal(bottom[:, :, 1::2], (moving[:, :, 1::2] * 255).round() / 255)


def test_chroma_alone_keeps_gray() -> None:
    gray = tensor(numbered(3, 2))
    for chroma in ("420", "422"):
        for up in ("bicubic", "nearest"):
            result = ChromaStep(chroma, up).apply(gray)
            assert float((result - gray).abs().max()) <= 1.01 / 255


@pytest.mark.parametrize(
    "wrong",
    [
        {"generations": [0, 0]},
        {"generations": [0, 1]},
        {"codecs": {"h264": {"quality": [30, 20]}}},
        {"codecs": {"mpeg2": {"quality": [2, 40]}}},
        {"codecs": {"av1": {"quality": [2, 40]}}},
        {"generations": [1], "gop": [5, 2]},
        {"generations": [1], "banding": {"bits": [5, 9]}},
        {"generations": [1], "interlacing": {"prob": 0.5, "bwdif": 0, "yadif": 0, "lines": 0}},
        {"generations": [1], "chroma": {"prob": 1, "half": 0, "wide": 0}},
        {"generations": [1], "hold": {"prob": 1.5}},
        {"generations": [1], "speed": 3},
    ],
)
def test_wrong_recipes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Video.model_validate(wrong)
