"""JPEG on the device against a real codec, and its gradients."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from streamsr.degrade import reference
from streamsr.degrade.jpeg import compressed


def picture(height: int = 96, width: int = 112) -> Tensor:
    """Smooth shapes, edges and a little grain."""
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[0:height, 0:width]
    base = np.stack([rows / height, columns / width, 0.5 + 0.4 * np.sin((rows + columns) / 9)], -1)
    base[20:50, 30:70] = (0.8, 0.2, 0.1)
    base += rng.normal(0, 0.02, base.shape)
    return torch.from_numpy(base.clip(0, 1).astype(np.float32)).permute(2, 0, 1)[None].contiguous()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(1 / np.mean((a - b) ** 2)))


def by_opencv(x: Tensor, quality: int) -> np.ndarray:
    """Of the picture on its side, turned back: basicsr has the table of luma transposed, and was trained with it."""
    rgb = (x[0].permute(2, 1, 0).numpy() * 255).round().astype(np.uint8)
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    _, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality, *sampling])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded[..., ::-1].transpose(1, 0, 2).astype(np.float32) / 255


@pytest.mark.parametrize("quality", [30, 49, 50, 75, 95])
def test_it_looks_like_a_real_jpeg(quality: int) -> None:
    x = picture()
    ours, theirs = compressed(x, quality)[0].permute(1, 2, 0).numpy(), by_opencv(x, quality)
    original = x[0].permute(1, 2, 0).numpy()
    assert psnr(ours, theirs) > psnr(theirs, original) + 1, "nearer to the other JPEG than to the picture"
    assert psnr(ours, original) == pytest.approx(psnr(theirs, original), abs=1.5)


@pytest.mark.parametrize("quality", [30, 75])
def test_without_color_it_is_a_real_jpeg(quality: int) -> None:
    """Codecs differ in how they enlarge the reduced colour, not in gray."""
    x = (picture().mean(1, keepdim=True).expand(-1, 3, -1, -1) * 255).round() / 255
    assert psnr(compressed(x, quality)[0].permute(1, 2, 0).numpy(), by_opencv(x, quality)) > 45


def test_it_is_basicsrs() -> None:
    x = picture(40, 52)
    with torch.no_grad():
        theirs = reference.DiffJPEG(differentiable=False)(x, quality=62.0)
    assert torch.equal(compressed(x, 62.0), theirs)


def test_sizes_that_are_no_multiples_of_16_and_values_out_of_range() -> None:
    x = picture(17, 5) * 3 - 1
    out = compressed(x, 90)
    assert out.shape == x.shape
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(out, compressed(x.clamp(0, 1), 90))


def test_gradients_flow_through_the_differentiable_one() -> None:
    x = picture().requires_grad_()
    wanted = picture().flip(3)
    loss = (compressed(x, 60, is_differentiable=True) - wanted).pow(2).mean()
    loss.backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    stepped = x.detach() - 2000 * x.grad
    after = (compressed(stepped, 60, is_differentiable=True) - wanted).pow(2).mean()
    assert after < 0.95 * loss.detach(), "a step against the gradient makes the loss smaller"


def test_the_differentiable_one_is_close() -> None:
    x = picture()
    difference = (compressed(x, 60, is_differentiable=True) - compressed(x, 60)).abs()
    assert 0 < difference.mean() < 0.02


def test_nothing_needs_a_gradient_that_was_not_asked_for() -> None:
    assert not compressed(picture(), 60).requires_grad
