"""The whole way of a picture: against the published program in basicsr's own parts, and what callers rely on."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from streamsr.degrade import reference
from streamsr.degrade.process import Degraded, degrade
from streamsr.degrade.recipe import load_recipe
from streamsr.degrade.steps import BlurStep, JpegStep, NoiseStep, ResizeStep, Step

X4PLUS = load_recipe("x4plus")


def picture(height: int = 96, width: int = 128, count: int = 1) -> Tensor:
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    x = torch.stack([rows, columns, 0.5 + 0.5 * torch.sin(20 * rows * columns)])
    x[:, height // 4 : height // 2, width // 4 : width // 2] = torch.tensor([0.9, 0.2, 0.1]).view(3, 1, 1)
    return ((x * 255).round() / 255).expand(count, 3, height, width).clone()


def published(gt: Tensor, steps: Sequence[Step], scale: int) -> Tensor:
    """RealESRGANModel.feed_data with the numbers of `steps` where it draws, by basicsr's own functions. `gt`: 13HW."""
    drawn = {step.name: step for step in steps}
    jpeger, pad = reference.DiffJPEG(differentiable=False), 21

    def blurred(x: Tensor, name: str) -> Tensor:
        step = drawn[name]
        assert isinstance(step, BlurStep)
        kernel = np.pad(step.kernel.matrix(), (pad - step.kernel.size) // 2)
        out: Tensor = reference.filter2D(x, torch.FloatTensor(kernel)[None])
        return out

    def noisy(x: Tensor, name: str) -> Tensor:
        step = drawn[name]
        assert isinstance(step, NoiseStep)
        make = reference.generate_gaussian_noise_pt if step.is_gaussian else reference.generate_poisson_noise_pt
        with torch.random.fork_rng():
            torch.manual_seed(step.seed)
            return torch.clamp(x + make(x, step.strength, float(step.is_gray)), 0, 1)

    def compressed(x: Tensor, name: str) -> Tensor:
        step = drawn[name]
        assert isinstance(step, JpegStep)
        out: Tensor = jpeger(torch.clamp(x, 0, 1), quality=torch.tensor([step.quality]))
        return out

    def reduced(x: Tensor) -> Tensor:
        if isinstance(step := drawn.get("final resize"), ResizeStep):
            x = functional.interpolate(x, size=(gt.shape[2] // scale, gt.shape[3] // scale), mode=step.mode)
        return blurred(x, "final sinc") if "final sinc" in drawn else x

    with torch.no_grad():
        out = blurred(reference.USMSharp()(gt), "first blur")
        first, second = drawn["first resize"], drawn["second resize"]
        assert isinstance(first, ResizeStep)
        assert isinstance(second, ResizeStep)
        out = functional.interpolate(out, scale_factor=first.factor, mode=first.mode)
        out = compressed(noisy(out, "first noise"), "first jpeg")
        out = blurred(out, "second blur") if "second blur" in drawn else out
        size = (int(gt.shape[2] / scale * second.factor), int(gt.shape[3] / scale * second.factor))
        out = noisy(functional.interpolate(out, size=size, mode=second.mode), "second noise")
        if steps[-1].name == "final jpeg":
            out = compressed(reduced(out), "final jpeg")
        else:
            out = reduced(compressed(out, "final jpeg"))
        return torch.clamp((out * 255.0).round(), 0, 255) / 255.0


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_published_process(seed: int) -> None:
    gt = picture()
    done = degrade(gt, X4PLUS, 4, seed)
    theirs = published(gt, done.steps, 4)
    # Kernels are not padded and USM is done in two passes, so that sums round differently, and now and then a level.
    difference = (done.lr_T3hw - theirs).abs() * 255
    assert difference.mean() < 0.01
    assert difference.max() < 2


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["x4plus", "classical"])
def test_sizes_and_levels(scale: int, name: str) -> None:
    gt = picture(36, 60)
    for seed in range(6):
        done = degrade(gt, load_recipe(name), scale, seed)
        assert done.lr_T3hw.shape == (1, 3, 36 // scale, 60 // scale)
        levels = done.lr_T3hw * 255
        torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
        assert 0 <= levels.min() <= levels.max() <= 255
        assert torch.equal(done.gt_T3HW, gt)
        assert torch.equal(done.sharp_T3HW, gt) == (name == "classical")


@pytest.mark.parametrize("size", [(4, 4), (8, 40), (4, 200)])
def test_pictures_smaller_than_the_kernels(size: tuple[int, int]) -> None:
    for seed in range(8):
        done = degrade(picture(*size), X4PLUS, 4, seed)
        assert done.lr_T3hw.shape[2:] == (size[0] // 4, size[1] // 4)
        assert torch.isfinite(done.lr_T3hw).all()


def test_seeds_reproduce_and_global_generators_are_not_touched() -> None:
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index]
    one = degrade(picture(), X4PLUS, 4, 21)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    two = degrade(picture(), X4PLUS, 4, 21)
    assert torch.equal(one.lr_T3hw, two.lr_T3hw)
    assert one.steps == two.steps
    assert not torch.equal(one.lr_T3hw, degrade(picture(), X4PLUS, 4, 22).lr_T3hw)
    random.setstate(before[0])
    torch.set_rng_state(before[2])
    np.random.seed(2)
    state = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index]
    degrade(picture(), X4PLUS, 4, 23)
    assert random.getstate() == state[0]
    assert np.random.get_state()[1].tolist() == state[1]  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), state[2])


def test_pictures_of_a_clip_share_everything_but_the_noise() -> None:
    quiet = load_recipe("x4plus", ("first.noise_prob=0", "second.noise_prob=0"))
    done = degrade(picture(count=3), quiet, 4, 4)
    assert torch.equal(done.lr_T3hw[0], done.lr_T3hw[2])
    assert torch.equal(done.lr_T3hw[:1], degrade(picture(), quiet, 4, 4).lr_T3hw), "a clip of one is a picture"
    noisy = degrade(picture(count=3), X4PLUS, 4, 4).lr_T3hw
    assert not torch.equal(noisy[0], noisy[2])


def test_every_step_is_seen() -> None:
    seen: list[tuple[Step, tuple[int, ...]]] = []
    done = degrade(picture(), X4PLUS, 4, 2, lambda step, x: seen.append((step, tuple(x.shape))))
    assert tuple(step for step, _ in seen) == done.steps
    sizes = [(step.size, shape[2:]) for step, shape in seen if isinstance(step, ResizeStep)]
    assert all(size == shape for size, shape in sizes)
    assert seen[-1][1] == (1, 3, 24, 32)


@pytest.mark.parametrize("name", ["animevideo", "lite"])
@pytest.mark.parametrize("count", [1, 4])
def test_video_recipes_return_as_many_pictures_as_they_get(name: str, count: int) -> None:
    for seed in range(3):
        gt = picture(128, 128, count)
        done = degrade(gt, load_recipe(name), 4, seed)
        assert done.lr_T3hw.shape == (count, 3, 32, 32)
        assert done.gt_T3HW.shape == done.sharp_T3HW.shape == (count, 3, 128, 128)
        assert torch.equal(done.gt_T3HW[-1], gt[-1])
        again = degrade(gt, load_recipe(name), 4, seed)
        assert torch.equal(done.lr_T3hw, again.lr_T3hw)


def test_a_still_becomes_a_clip_only_where_neighbours_matter() -> None:
    """A pan costs as many times the work; half of the pictures of `lite` meet no codec."""
    counts = {True: set[int](), False: set[int]()}
    seen: list[int] = []
    for seed in range(12):
        seen.clear()
        done = degrade(picture(64, 64), load_recipe("lite"), 4, seed, lambda _, x: seen.append(x.shape[0]))
        counts[any(step.name.startswith("video codec") for step in done.steps)] |= set(seen)
    assert counts == {True: {3}, False: {1}}


def test_held_pictures_are_held_in_the_ground_truth_too() -> None:
    """Else a network would learn to guess pictures that its input does not show."""
    recipe = load_recipe("animevideo", ("video.hold.prob=1", "video.generations=[1]", "video.interlacing.prob=0"))
    gt = picture(64, 64, 6)
    gt[:, 0] = torch.linspace(0.2, 0.8, 6).view(6, 1, 1)
    for seed in range(4):
        done = degrade(gt, recipe, 4, seed)
        run = next(int(step.parameters["run"]) for step in done.steps if step.name == "video hold")
        red = done.gt_T3HW[:, 0].mean((1, 2))
        assert len(red.unique()) == -(-6 // run)
        held = [bool(torch.equal(a, b)) for a, b in zip(done.gt_T3HW, done.gt_T3HW[1:], strict=False)]
        assert held == [bool(torch.equal(a, b)) for a, b in zip(done.lr_T3hw, done.lr_T3hw[1:], strict=False)]


@pytest.mark.parametrize("wrong", [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8).double()])
def test_what_is_no_picture_is_refused(wrong: Tensor) -> None:
    with pytest.raises(ValueError, match="not T3HW float32"):
        degrade(wrong, X4PLUS, 4, 1)


@pytest.mark.gpu
def test_on_a_gpu_the_same_steps_give_about_the_same_picture() -> None:
    quiet = load_recipe("x4plus", ("first.noise_prob=0", "second.noise_prob=0"))
    for seed in range(6):
        here: Degraded = degrade(picture(), quiet, 4, seed)
        there = degrade(picture().cuda(), quiet, 4, seed)
        assert here.steps == there.steps
        assert there.lr_T3hw.is_cuda
        assert (here.lr_T3hw - there.lr_T3hw.cpu()).abs().mean() < 1 / 255
    loud = degrade(picture().cuda(), X4PLUS, 4, 1)
    assert torch.equal(loud.lr_T3hw, degrade(picture().cuda(), X4PLUS, 4, 1).lr_T3hw)
