"""From a recipe and a seed to steps: all chance is in here, and none of it is global.

The order is that of RealESRGANModel.feed_data (xinntao/Real-ESRGAN, realesrgan/models/realesrgan_model.py)."""

from __future__ import annotations

import math

import numpy as np

from streamsr.degrade.clip import video_steps
from streamsr.degrade.kernels import draw_final_sinc, draw_kernel
from streamsr.degrade.recipe import Final, Order, Recipe
from streamsr.degrade.steps import BlurStep, JpegStep, NoiseStep, ResizeStep, SharpenStep, Step

Size = tuple[int, int]


def draw_steps(
    recipe: Recipe, scale: int, size: Size, seed: int, *, frames: int = 1, first: int = 0
) -> tuple[Step, ...]:
    """What happens to a ground truth of `size` (H, W), both multiples of `scale`, on its way to 1 / `scale` of that.

    `seed` >= 0 decides everything. A long clip may be degraded in pieces: with the same seed and with `first`, the
    number of the piece's first picture, the pieces differ in nothing but the noise. `frames` is what a piece has.
    Raises ValueError for sizes that are not multiples."""
    if min(size) < 1 or size[0] % scale or size[1] % scale:
        raise ValueError(f"{size[1]}x{size[0]} is not a multiple of {scale}")
    target = (size[0] // scale, size[1] // scale)
    rng = np.random.default_rng(seed)
    noise_rng = np.random.default_rng((seed, first))
    steps: list[Step] = []
    if recipe.sharpen:
        steps.append(SharpenStep(recipe.sharpen))
    for stage, order in (("first", recipe.first), ("second", recipe.second)):
        if order is not None:
            drawn, size = _draw_order(stage, order, size, target, rng, noise_rng)
            steps += drawn
    steps += _draw_final(recipe.final, size, target, rng)
    if recipe.video:
        steps += video_steps(recipe.video, rng, target, frames)
    return tuple(steps)


def _draw_order(
    stage: str, order: Order, size: Size, target: Size, rng: np.random.Generator, noise_rng: np.random.Generator
) -> tuple[list[Step], Size]:
    """The steps of one order, and the size of the pictures after them."""
    steps: list[Step] = []
    kernel = draw_kernel(order, rng)
    if rng.random() < order.blur_prob:
        steps.append(BlurStep(f"{stage} blur", kernel))
    resize = _draw_resize(f"{stage} resize", order, size, target, rng)
    steps.append(resize)
    is_gaussian = rng.random() < order.gaussian_noise_prob
    strength = rng.uniform(*(order.noise_range if is_gaussian else order.poisson_scale_range))
    is_gray = rng.random() < order.gray_noise_prob
    noise_seed = int(noise_rng.integers(2**63))
    if rng.random() < order.noise_prob:
        steps.append(NoiseStep(f"{stage} noise", is_gaussian, strength, is_gray, noise_seed))
    quality = rng.uniform(*order.jpeg_range)
    if rng.random() < order.jpeg_prob:
        steps.append(JpegStep(f"{stage} jpeg", quality))
    return steps, resize.size


def _draw_resize(name: str, order: Order, size: Size, target: Size, rng: np.random.Generator) -> ResizeStep:
    kinds, shares = zip(*order.resize_prob, strict=True)
    kind = kinds[rng.choice(len(kinds), p=np.array(shares) / sum(shares))]
    low, high = order.resize_range
    factor = {"up": rng.uniform(1, high), "down": rng.uniform(low, 1), "keep": 1.0}[kind]
    mode = order.resize_modes[rng.integers(len(order.resize_modes))]
    base = size if order.resize_from == "picture" else target
    rows, columns = (math.floor(side * factor) for side in base)
    # A side that would vanish stays one pixel; interpolate(scale_factor=...) would refuse it.
    of_target = order.resize_from == "target"
    is_by_factor = not of_target and min(rows, columns) > 0
    return ResizeStep(name, (max(rows, 1), max(columns, 1)), factor, mode, is_by_factor, of_target)


def _draw_final(final: Final, size: Size, target: Size, rng: np.random.Generator) -> list[Step]:
    """Resize to the target with the last sinc, and JPEG, one or the other first. No resize where the size is right."""
    mode = final.resize_modes[rng.integers(len(final.resize_modes))]
    kernel = draw_final_sinc(final, rng)
    has_sinc = rng.random() < final.sinc_prob
    quality = rng.uniform(*final.jpeg_range)
    has_jpeg = rng.random() < final.jpeg_prob
    jpeg: list[Step] = [JpegStep("final jpeg", quality)] if has_jpeg else []
    reduce: list[Step] = []
    if size != target:
        reduce.append(ResizeStep("final resize", target, target[0] / size[0], mode))
    if has_sinc:
        reduce.append(BlurStep("final sinc", kernel))
    return reduce + jpeg if rng.random() < final.jpeg_last_prob else jpeg + reduce
