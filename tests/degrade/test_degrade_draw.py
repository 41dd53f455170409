"""Which steps come, in which order and with which numbers: against the published chances."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from streamsr.degrade.draw import draw_steps
from streamsr.degrade.recipe import load_recipe
from streamsr.degrade.steps import BlurStep, JpegStep, NoiseStep, ResizeStep, Step

DRAWS = 4000
LEAST_P = 1e-4
SIZE = (256, 320)
X4PLUS = load_recipe("x4plus")


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Step, ...]]:
    return [draw_steps(X4PLUS, 4, SIZE, seed) for seed in range(DRAWS)]


def named(drawn: Sequence[tuple[Step, ...]], name: str) -> list[Step]:
    return [step for steps in drawn for step in steps if step.name == name]


def is_fair(count: int, chance: float, total: int = DRAWS) -> bool:
    return bool(stats.binomtest(count, total, chance).pvalue > LEAST_P)


def is_even(values: Sequence[float] | np.ndarray, low: float, high: float) -> bool:
    return bool(stats.kstest(values, stats.uniform(low, high - low).cdf)[1] > LEAST_P)


def test_the_order_of_the_steps_is_the_papers(drawn: list[tuple[Step, ...]]) -> None:
    begin = ["truth sharpen", "first blur", "first resize", "first noise", "first jpeg"]
    ends: set[tuple[str, ...]] = {
        ("final resize", "final sinc", "final jpeg"),
        ("final jpeg", "final resize", "final sinc"),
    }
    ends |= {tuple(name for name in end if name != "final sinc") for end in ends}
    for steps in drawn:
        names = [step.name for step in steps]
        assert names[:5] == begin
        second = [name for name in names if name.startswith("second")]
        assert second in (["second blur", "second resize", "second noise"], ["second resize", "second noise"])
        tail = tuple(names[5 + len(second) :])
        if "final resize" in tail:
            assert tail in ends
        else:
            [resize] = [step for step in steps if step.name == "second resize"]
            assert isinstance(resize, ResizeStep)
            assert resize.size == (64, 80), "no resize only where the size is right"


def test_steps_come_with_the_published_chances(drawn: list[tuple[Step, ...]]) -> None:
    counts = Counter(step.name for steps in drawn for step in steps)
    assert is_fair(counts["second blur"], 0.8)
    assert is_fair(counts["final sinc"], 0.8)
    assert counts["first blur"] == counts["first noise"] == counts["second noise"] == counts["final jpeg"] == DRAWS
    assert is_fair(sum(steps[-1].name == "final jpeg" for steps in drawn), 0.5)


@pytest.mark.parametrize(
    ("stage", "chances", "ends"), [("first", (0.2, 0.7, 0.1), (0.15, 1.5)), ("second", (0.3, 0.4, 0.3), (0.3, 1.2))]
)
def test_resizing(
    drawn: list[tuple[Step, ...]], stage: str, chances: tuple[float, ...], ends: tuple[float, float]
) -> None:
    steps = [step for step in named(drawn, f"{stage} resize") if isinstance(step, ResizeStep)]
    factors = np.array([step.factor for step in steps])
    found = [int((factors > 1).sum()), int((factors < 1).sum()), int((factors == 1).sum())]
    assert stats.chisquare(found, [DRAWS * chance for chance in chances])[1] > LEAST_P
    assert is_even(factors[factors > 1], 1, ends[1])
    assert is_even(factors[factors < 1], ends[0], 1)
    modes = Counter(step.mode for step in steps)
    assert set(modes) == {"area", "bilinear", "bicubic"}
    assert stats.chisquare(list(modes.values()))[1] > LEAST_P
    base = SIZE if stage == "first" else (SIZE[0] / 4, SIZE[1] / 4)
    assert all(step.size == (int(base[0] * step.factor), int(base[1] * step.factor)) for step in steps)
    assert all(step.is_by_factor == (stage == "first") for step in steps)


@pytest.mark.parametrize(("stage", "sigma", "scale"), [("first", (1, 30), (0.05, 3)), ("second", (1, 25), (0.05, 2.5))])
def test_noise(
    drawn: list[tuple[Step, ...]], stage: str, sigma: tuple[float, float], scale: tuple[float, float]
) -> None:
    steps = [step for step in named(drawn, f"{stage} noise") if isinstance(step, NoiseStep)]
    gaussian = [step for step in steps if step.is_gaussian]
    assert is_fair(len(gaussian), 0.5)
    assert is_fair(sum(step.is_gray for step in steps), 0.4)
    assert is_even([step.strength for step in gaussian], *sigma)
    assert is_even([step.strength for step in steps if not step.is_gaussian], *scale)
    assert len({step.seed for step in steps}) == DRAWS


@pytest.mark.parametrize("name", ["first jpeg", "final jpeg"])
def test_jpeg(drawn: list[tuple[Step, ...]], name: str) -> None:
    assert is_even([step.quality for step in named(drawn, name) if isinstance(step, JpegStep)], 30, 95)


def test_seeds_reproduce_and_differ(drawn: list[tuple[Step, ...]]) -> None:
    assert draw_steps(X4PLUS, 4, SIZE, 11) == drawn[11]
    assert len({repr(steps) for steps in drawn}) == DRAWS
    uncorrelated = np.corrcoef([[s.quality for s in steps if isinstance(s, JpegStep)] for steps in drawn], rowvar=False)
    assert abs(uncorrelated[0, 1]) < 0.08
    following = [steps[4].quality for steps in drawn if isinstance(steps[4], JpegStep)]
    assert abs(np.corrcoef(list(pairwise(following)), rowvar=False)[0, 1]) < 0.08, "neighbouring seeds are unlike"


def test_global_generators_are_not_touched() -> None:
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index]
    draw_steps(X4PLUS, 4, SIZE, 3)
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index]
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_pieces_of_a_clip_differ_in_noise_only() -> None:
    one, two = (draw_steps(X4PLUS, 4, SIZE, 5, frames=8, first=first) for first in (0, 8))
    assert one != two
    for a, b in zip(one, two, strict=True):
        if isinstance(a, NoiseStep):
            assert isinstance(b, NoiseStep)
            assert a.seed != b.seed
            assert replace(a, seed=0) == replace(b, seed=0)
        else:
            assert a == b


def test_classical_is_blur_reduce_noise_jpeg() -> None:
    for seed in range(50):
        steps = draw_steps(load_recipe("classical"), 4, SIZE, seed)
        assert [step.name for step in steps] == ["first blur", "first resize", "first noise", "first jpeg"]
        assert isinstance(steps[0], BlurStep)
        assert steps[0].kernel.kind in ("iso", "aniso")
        assert isinstance(steps[1], ResizeStep)
        assert steps[1].size == (64, 80)


@pytest.mark.parametrize("size", [(10, 8), (8, 10), (0, 8)])
def test_sizes_must_be_multiples(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiple"):
        draw_steps(X4PLUS, 4, size, 1)
