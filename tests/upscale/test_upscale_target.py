"""Sizes of the output."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsr.config import UpscaleConfig
from streamsr.errors import ConfigError
from streamsr.frames import ColorTags, Orientation, PixelLayout, VideoInfo
from streamsr.upscale.target import MAX_SIDE, plan_target

SCALES = (1, 2, 4)


def video(width: int, height: int, aspect: Fraction = Fraction(1), clockwise: int = 0) -> VideoInfo:
    return VideoInfo(
        path="clip.mp4",
        container="mp4",
        codec="h264",
        width=width,
        height=height,
        layout=PixelLayout(),
        color=ColorTags(matrix=1, chroma_location=1),
        time_base=Fraction(1, 1000),
        rate=Fraction(25),
        duration_s=1.0,
        frames_from_header=25,
        sample_aspect=aspect,
        orientation=Orientation(clockwise),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("size", "options", "expected", "network_scale"),
    [
        ((960, 540), {}, (3840, 2160), 4),
        ((320, 180), {}, (1280, 720), 4),
        ((1920, 1080), {}, (3840, 2160), 2),
        ((1280, 720), {}, (3840, 2160), 4),
        ((1080, 1920), {}, (2160, 3840), 2),
        ((640, 480), {"scale": 1.5}, (960, 720), 2),
        ((640, 480), {"scale": 1}, (640, 480), 1),
        ((640, 480), {"to": "1080p"}, (1440, 1080), 4),
        ((853, 480), {"to": "4k"}, (3838, 2160), 4),
        ((640, 360), {"to": "1000x1000"}, (1000, 562), 2),
        ((421, 237), {"scale": 4}, (1684, 948), 4),
        ((421, 237), {"scale": 2}, (842, 474), 2),
        ((3840, 2160), {"scale": 2}, (7680, 4320), 2),
    ],
)
def test_sizes(
    size: tuple[int, int], options: dict[str, object], expected: tuple[int, int], network_scale: int
) -> None:
    target = plan_target(UpscaleConfig.model_validate(options), video(*size), SCALES)
    assert (target.width, target.height) == expected
    assert target.network_scale == network_scale


def test_turned_pictures_are_measured_upright() -> None:
    target = plan_target(UpscaleConfig(scale=2), video(640, 360, clockwise=90), SCALES)
    assert (target.width, target.height) == (720, 1280)


def test_scale_keeps_the_sample_aspect_and_a_box_squares_it() -> None:
    anamorphic = video(720, 576, Fraction(64, 45))
    kept = plan_target(UpscaleConfig(scale=2), anamorphic, SCALES)
    assert (kept.width, kept.height, kept.sample_aspect) == (1440, 1152, Fraction(64, 45))
    squared = plan_target(UpscaleConfig(to="4k"), anamorphic, SCALES)
    assert (squared.width, squared.height, squared.sample_aspect) == (3840, 2160, Fraction(1))


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        ((640, 480), {"scale": 2, "to": "4k"}, "exclude"),
        ((3840, 2160), {}, "4K already"),
        ((8000, 4000), {"scale": 4}, "16384"),
    ],
)
def test_impossible(size: tuple[int, int], options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_target(UpscaleConfig.model_validate(options), video(*size), SCALES)


@given(
    st.integers(2, 4000),
    st.integers(2, 4000),
    st.fractions(Fraction(1, 3), 3, max_denominator=64),
    st.sampled_from(["8k", "4k", "1080p", "1000x700", "64x3000"]),
)
def test_a_box_is_never_left_and_the_shape_is_kept(width: int, height: int, aspect: Fraction, to: str) -> None:
    try:
        target = plan_target(UpscaleConfig(to=to), video(width, height, aspect), SCALES)
    except ConfigError:
        return
    assert target.width % 2 == target.height % 2 == 0
    sides = {
        "8k": (7680, 4320),
        "4k": (3840, 2160),
        "1080p": (1920, 1080),
        "1000x700": (1000, 700),
        "64x3000": (64, 3000),
    }
    box = sides[to]
    assert max(target.width, target.height) <= max(box)
    shown = width * aspect / height
    # Two pixels of rounding on either side.
    assert (target.width - 2) / (target.height + 2) <= shown <= (target.width + 2) / max(target.height - 2, 0.5) or min(
        target.width, target.height
    ) <= 2


@given(st.integers(2, 5000), st.integers(2, 5000), st.floats(0.1, 16))
def test_scale_is_exact_to_a_pixel(width: int, height: int, scale: float) -> None:
    try:
        target = plan_target(UpscaleConfig(scale=scale), video(width, height), SCALES)
    except ConfigError:
        assert max(width, height) * scale > MAX_SIDE - 2
        return
    assert abs(target.width - width * scale) <= 2
    assert target.network_scale in SCALES


def test_square_stretches_to_what_is_seen() -> None:
    wide = plan_target(UpscaleConfig(scale=2), video(720, 576, Fraction(64, 45)), SCALES, square=True)
    assert (wide.width, wide.height, wide.sample_aspect) == (2048, 1152, Fraction(1))
    tall = plan_target(UpscaleConfig(scale=2), video(720, 576, Fraction(1, 2)), SCALES, square=True)
    assert (tall.width, tall.height, tall.sample_aspect) == (1440, 2304, Fraction(1))
