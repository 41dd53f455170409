"""Metrics against the ones the field uses (basicsr), against formulas, and on pictures with a known answer."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from streamsr.degrade.reference import calculate_niqe, calculate_psnr, calculate_ssim
from streamsr.errors import ConfigError
from streamsr.train.metrics import Flicker, color_shift, flicker, luma, mean_flicker, niqe, psnr_y, ssim_y
from tests.train.data_pictures import Picture, smooth


def noisy(picture: Picture, strength: float, seed: int = 0) -> Picture:
    noise = np.random.default_rng(seed).normal(0, strength, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def bgr(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[..., ::-1])


@pytest.mark.parametrize("border", [0, 4])
@pytest.mark.parametrize("strength", [1.0, 12.0])
def test_psnr_and_ssim_are_basicsrs(strength: float, border: int) -> None:
    one = smooth(70, 93, 1)
    other = noisy(one, strength)
    wanted = calculate_psnr(bgr(one), bgr(other), crop_border=border, test_y_channel=True)
    assert psnr_y(one, other, border) == pytest.approx(wanted, abs=1e-3)
    wanted = calculate_ssim(bgr(one), bgr(other), crop_border=border, test_y_channel=True)
    assert ssim_y(one, other, border) == pytest.approx(wanted, abs=1e-5)


def test_ssim_is_the_formula() -> None:
    one = smooth(60, 60, 2)
    a, b = luma(one), luma(noisy(one, 8.0))

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray(gaussian_filter(values, 1.5, radius=5)[5:-5, 5:-5])

    covariance = mean(a * b) - mean(a) * mean(b)
    variances = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
    c1, c2 = 0.0001 * 255**2, 0.0009 * 255**2
    light = (2 * mean(a) * mean(b) + c1) / (mean(a) ** 2 + mean(b) ** 2 + c1)
    wanted = (light * (2 * covariance + c2) / (variances + c2)).mean()
    assert ssim_y(one, noisy(one, 8.0), 0) == pytest.approx(wanted, abs=1e-9)


def test_known_answers() -> None:
    picture = np.full((40, 40, 3), 100, np.uint8)
    assert psnr_y(picture, picture, 4) == math.inf
    assert ssim_y(picture, picture, 4) == pytest.approx(1)
    # One step of all colours is 219/255 of a step of luma.
    assert psnr_y(picture, picture + np.uint8(1), 0) == pytest.approx(20 * math.log10(255 / (219 / 255)))
    assert luma(picture)[0, 0] == pytest.approx(16 + 219 * 100 / 255)
    framed = picture.copy()
    framed[:4] = 0
    assert psnr_y(framed, picture, 4) == math.inf, "the border is left out"
    with pytest.raises(ConfigError, match="too small"):
        ssim_y(picture[:14, :14], picture[:14, :14], 4)


def test_niqe_is_basicsrs() -> None:
    picture = noisy(smooth(220, 300, 3), 10)
    wanted = float(np.squeeze(calculate_niqe(bgr(picture), 4, input_order="HWC", convert_to="y")))
    assert niqe(picture, 4) == pytest.approx(wanted)
    blurred = np.asarray(cv2.GaussianBlur(picture, (0, 0), 3), dtype=np.uint8)
    assert niqe(blurred, 4) != pytest.approx(wanted, abs=0.5)
    assert math.isnan(niqe(picture[:150], 4))
    assert math.isnan(niqe(np.full((220, 300, 3), 9, np.uint8), 4))


def test_color_shift_has_a_sign_and_an_order() -> None:
    truth = np.full((10, 10, 3), 100, np.uint8)
    made = truth + np.array([2, 0, 0], np.uint8)
    made[:5, :, 2] -= 3
    assert color_shift(made, truth) == pytest.approx((2, 0, -1.5))


def test_flicker_counts_only_what_stands_still() -> None:
    lr = torch.full((3, 20, 30), 50, dtype=torch.uint8)
    moved = lr.clone()
    moved[:, :, 20:] = 90
    moved[0, 0, 0] += 1
    sr = torch.full((3, 40, 60), 50, dtype=torch.uint8)
    changed = sr.clone()
    changed[:, :, :20] += 3
    changed[:, :, 40:] = 200
    found = flicker((lr, sr), (moved, changed))
    assert found is not None
    # Columns 0..17 of 30 stand still: two beside the moving ones are its neighbours.
    assert found.static_share == pytest.approx(18 / 30)
    assert found.change == pytest.approx(3 * 20 / 36)
    assert found.input_change == pytest.approx(1 / (3 * 20 * 18))
    assert flicker((lr, sr), (lr + 9, sr)) is None


def test_flicker_of_a_clip_is_weighted_by_what_stands_still() -> None:
    assert mean_flicker([]) is None
    found = mean_flicker([Flicker(0.5, 1.0, 4.0), Flicker(0.1, 1.0, 1.0)])
    assert found is not None
    assert found.change == pytest.approx((0.5 * 4 + 0.1) / 0.6)
    assert found.static_share == pytest.approx(0.3)
