"""Kernels: formulas written anew, and the statistics of the choices against the published figures."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy import special, stats

from streamsr.degrade.kernels import Kernel, draw_final_sinc, draw_kernel
from streamsr.degrade.recipe import load_recipe

DRAWS = 8000
LEAST_P = 1e-4
"""A fair draw is found unfair once in ten thousand; seeds are fixed, so a test that passes goes on passing."""

KERNELS = (
    Kernel("iso", 21, 2.3),
    Kernel("aniso", 15, 3.0, 0.7, 0.6),
    Kernel("generalized_iso", 21, 1.4, beta=0.5),
    Kernel("generalized_aniso", 13, 2.5, 1.1, -1.2, 3.5),
    Kernel("plateau_iso", 17, 1.7, beta=1.3),
    Kernel("plateau_aniso", 21, 0.9, 2.9, 2.8, 1.9),
    Kernel("sinc", 21, cutoff=math.pi / 5),
    Kernel("sinc", 7, cutoff=2.9),
)


def by_hand(kernel: Kernel) -> np.ndarray:
    """From the paper's formulas, one pixel at a time."""
    half = kernel.size // 2
    out = np.empty((kernel.size, kernel.size))
    for row in range(-half, half + 1):
        for column in range(-half, half + 1):
            if kernel.kind == "sinc":
                r = math.hypot(row, column)
                w = kernel.cutoff
                value = w * special.j1(w * r) / (2 * math.pi * r) if r else w * w / (4 * math.pi)
            else:
                # the axes of the ellipse, turned by `rotation` against x (columns)
                c, s = math.cos(kernel.rotation), math.sin(kernel.rotation)
                along, across = c * column + s * row, -s * column + c * row
                sigma_y = kernel.sigma_y or kernel.sigma_x
                q = (along / kernel.sigma_x) ** 2 + (across / sigma_y) ** 2
                if kernel.kind.startswith("plateau"):
                    value = 1 / (1 + q**kernel.beta)
                else:
                    value = math.exp(-0.5 * q ** (kernel.beta or 1))
            out[row + half, column + half] = value
    return np.asarray(out / out.sum())


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: f"{kernel.kind}{kernel.size}")
def test_kernels_follow_their_formulas(kernel: Kernel) -> None:
    matrix = kernel.matrix()
    assert matrix.shape == (kernel.size, kernel.size)
    np.testing.assert_allclose(matrix, by_hand(kernel), rtol=1e-9, atol=1e-12)


def test_drawn_kernels_sum_to_one_and_are_odd() -> None:
    recipe = load_recipe("x4plus")
    rng = np.random.default_rng(1)
    for number in range(400):
        kernel = draw_kernel(recipe.first, rng) if number % 4 else draw_final_sinc(recipe.final, rng)
        matrix = kernel.matrix()
        assert kernel.size % 2 == 1
        assert 7 <= kernel.size <= 21
        assert matrix.sum() == pytest.approx(1, abs=1e-9)
        assert np.isfinite(matrix).all()
        np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("stage", ["first", "second"])
def test_choices_have_the_published_chances(stage: str) -> None:
    order = getattr(load_recipe("x4plus"), stage)
    rng = np.random.default_rng(2)
    kernels = [draw_kernel(order, rng) for _ in range(DRAWS)]
    published = {
        "sinc": 0.1,
        "iso": 0.9 * 0.45,
        "aniso": 0.9 * 0.25,
        "generalized_iso": 0.9 * 0.12,
        "generalized_aniso": 0.9 * 0.03,
        "plateau_iso": 0.9 * 0.12,
        "plateau_aniso": 0.9 * 0.03,
    }
    counts = Counter(kernel.kind for kernel in kernels)
    assert set(counts) == set(published)
    assert stats.chisquare([counts[kind] for kind in published], [DRAWS * p for p in published.values()])[1] > LEAST_P
    sizes = Counter(kernel.size for kernel in kernels)
    assert set(sizes) == set(range(7, 22, 2))
    assert stats.chisquare(list(sizes.values()))[1] > LEAST_P


def test_numbers_are_even_over_their_ranges() -> None:
    recipe = load_recipe("x4plus")
    assert recipe.second is not None
    rng = np.random.default_rng(3)
    kernels = [draw_kernel(recipe.second, rng) for _ in range(DRAWS)]

    def is_even(values: list[float], low: float, high: float) -> bool:
        return bool(stats.kstest(values, stats.uniform(low, high - low).cdf)[1] > LEAST_P)

    assert is_even([kernel.sigma_x for kernel in kernels if kernel.kind != "sinc"], 0.2, 1.5)
    turned = [kernel for kernel in kernels if kernel.kind.endswith("aniso")]
    assert is_even([kernel.sigma_y for kernel in turned], 0.2, 1.5)
    assert is_even([kernel.rotation for kernel in turned], -math.pi, math.pi)
    peaked = [kernel.beta for kernel in kernels if kernel.kind.startswith("generalized")]
    below = [beta for beta in peaked if beta < 1]
    assert stats.binomtest(len(below), len(peaked)).pvalue > LEAST_P
    assert is_even(below, 0.5, 1)
    assert is_even([beta for beta in peaked if beta > 1], 1, 4)
    flat = [kernel.beta for kernel in kernels if kernel.kind.startswith("plateau")]
    assert min(flat) == 1, "betap below 1 is the range 1 to 1"
    assert stats.binomtest(flat.count(1), len(flat)).pvalue > LEAST_P
    small = [kernel.cutoff for kernel in kernels if kernel.kind == "sinc" and kernel.size < 13]
    assert is_even(small, math.pi / 3, math.pi)
    assert is_even([k.cutoff for k in kernels if k.kind == "sinc" and k.size >= 13], math.pi / 5, math.pi)
    last = [draw_final_sinc(recipe.final, rng).cutoff for _ in range(DRAWS)]
    assert is_even(last, math.pi / 3, math.pi)


def test_parameters_are_for_people() -> None:
    assert dict(Kernel("aniso", 15, 1.234, 0.5, math.pi / 2).parameters) == {
        "kernel": "aniso",
        "size": 15,
        "sigma": "1.23 x 0.50",
        "angle": "90 deg",
    }
    assert dict(Kernel("sinc", 7, cutoff=1.005).parameters) == {"kernel": "sinc", "size": 7, "cutoff": 1.0}
