"""A clip made of a still: the last picture is the still, the others show it moved, and codecs see motion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from streamsr.degrade.clip import FASTEST_PX, as_clip
from streamsr.degrade.video_steps import CodecStep
from streamsr.media.generation import Generation
from tests.media_source.test_media_recode import scene


def still(height: int = 64, width: int = 96) -> Tensor:
    return torch.from_numpy(scene(1, width, height)[0]).permute(2, 0, 1)[None].float() / 255


def test_the_last_picture_is_the_still() -> None:
    picture = still()
    for seed in range(15):
        for frames in (1, 2, 3, 5):
            clip = as_clip(picture, frames, seed)
            assert clip.shape == (frames, *picture.shape[1:])
            assert clip.dtype == picture.dtype
            assert torch.equal(clip[-1], picture[0])


def test_a_pure_function_of_its_arguments() -> None:
    picture = still()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert torch.equal(as_clip(picture, 3, 7), as_clip(picture, 3, 7))
    assert torch.equal(torch.get_rng_state(), before)
    assert len({as_clip(picture, 3, seed).numpy().tobytes() for seed in range(40)}) > 20


def test_only_whole_pixels_of_the_still_are_shown() -> None:
    """Each value of an earlier picture is one of the still: nothing is blurred."""
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(60), indexing="ij")
    places = torch.stack([rows, columns, rows * 0]).float()[None]
    shifts = []
    for seed in range(80):
        clip = as_clip(places, 3, seed)
        assert torch.equal(clip, clip.round())
        middle = clip[:, :2, 18:22, 28:32] - places[0, :2, 18:22, 28:32]
        steps = [(middle[index] - middle[index + 1]).mean((1, 2)) for index in (0, 1)]
        assert float((steps[0] - steps[1]).abs().max()) <= 1.01, "even motion, up to rounding"
        assert float(steps[1].abs().max()) <= FASTEST_PX + 1
        shifts.append(steps[1].abs().max().item())
    assert 0.1 < np.mean(np.array(shifts) < 0.01) < 0.45, "some do not move at all"
    assert max(shifts) > 0.7 * FASTEST_PX


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (8, 8)])
def test_tiny_stills(size: tuple[int, int]) -> None:
    picture = torch.rand(1, 3, *size)
    for seed in range(20):
        clip = as_clip(picture, 5, seed)
        assert clip.shape == (5, 3, *size)
        assert torch.equal(clip[-1], picture[0])
        assert set(clip.flatten().tolist()) <= set(picture.flatten().tolist())


def test_only_a_still_becomes_a_clip() -> None:
    with pytest.raises(ValueError, match="not one picture"):
        as_clip(torch.rand(2, 3, 8, 8), 3, 0)


def test_motion_reaches_the_codec() -> None:
    """The last picture of a clip that moves is predicted, and looks otherwise than coded alone."""
    picture = still()
    step = CodecStep(Generation(codec="h264", quality=34))
    alone = step.apply(picture)[0]
    others = [step.apply(as_clip(picture, 3, seed))[-1] for seed in range(10)]
    assert sum(not torch.equal(alone, other) for other in others) >= 9
    assert all(float((other - picture[0]).abs().mean()) < 0.1 for other in others), "in the same place"
