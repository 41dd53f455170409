"""Filtering and unsharp masking against OpenCV, numpy and basicsr."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamsr.degrade import reference
from streamsr.degrade.blur import filtered, mirrored, sharpened
from streamsr.degrade.kernels import Kernel

KERNEL = Kernel("aniso", 15, 3.0, 0.7, 0.6).matrix()


def picture(height: int, width: int, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 40))
def test_mirroring_is_numpys_whatever_the_size(height: int, width: int, radius: int) -> None:
    x = picture(height, width)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (radius, radius), (radius, radius)), mode="reflect")
    np.testing.assert_array_equal(mirrored(x, radius).numpy(), padded)


def test_filtering_is_opencvs() -> None:
    x = picture(40, 52, count=3)
    kernel = torch.from_numpy(KERNEL).float()
    out = filtered(x, kernel)
    for ours, given_3HW in zip(out, x, strict=True):
        theirs = cv2.filter2D(given_3HW.permute(1, 2, 0).numpy(), -1, KERNEL, borderType=cv2.BORDER_REFLECT_101)
        np.testing.assert_allclose(ours.permute(1, 2, 0).numpy(), theirs, atol=2e-6)


def test_filtering_is_basicsrs_with_its_padded_kernel() -> None:
    x = picture(40, 52)
    padded = torch.from_numpy(np.pad(KERNEL, 3)).float()[None]
    theirs = reference.filter2D(x, padded)
    torch.testing.assert_close(filtered(x, torch.from_numpy(KERNEL).float()), theirs, atol=2e-6, rtol=0)


def test_pictures_smaller_than_the_kernel_keep_their_mean_level() -> None:
    flat = torch.full((1, 3, 4, 1), 0.25)
    kernel = torch.from_numpy(Kernel("sinc", 21, cutoff=1.0).matrix()).float()
    torch.testing.assert_close(filtered(flat, kernel), flat, atol=1e-6, rtol=0)


def ramps() -> torch.Tensor:
    """Edges strong and weak, so that the mask has both of its values."""
    x = torch.linspace(0.1, 0.9, 96).expand(1, 3, 80, 96).clone()
    x[..., 20:40, 30:60] += 0.3
    x[..., 50:60, 10:20] -= 0.02
    return x.clamp(0, 1)


def test_sharpening_is_basicsrs() -> None:
    x = ramps()
    theirs = reference.USMSharp()(x)
    ours = sharpened(x)
    # A pixel whose difference is at the threshold may fall on the other side; its share of the soft mask is small.
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)
    assert (ours - x).abs().max() > 0.05
    by_numpy = reference_by_opencv(x[0].permute(1, 2, 0).numpy())
    np.testing.assert_allclose(ours[0].permute(1, 2, 0).numpy(), by_numpy, atol=2e-4)


def reference_by_opencv(img: np.ndarray, weight: float = 0.5, size: int = 51, threshold: float = 10) -> np.ndarray:
    blur = cv2.GaussianBlur(img, (size, size), 0)
    mask = (np.abs(img - blur) * 255 > threshold).astype(np.float32)
    soft = cv2.GaussianBlur(mask, (size, size), 0)
    return np.asarray(soft * np.clip(img + weight * (img - blur), 0, 1) + (1 - soft) * img)


def test_sharpening_leaves_flat_and_tiny_pictures_alone() -> None:
    for shape in ((1, 1), (3, 64), (64, 64)):
        flat = torch.full((1, 3, *shape), 0.5)
        torch.testing.assert_close(sharpened(flat), flat, atol=1e-6, rtol=0)


@pytest.mark.parametrize("is_blur", [True, False])
def test_gradients_flow(is_blur: bool) -> None:
    x = picture(32, 32).requires_grad_()
    out = filtered(x, torch.from_numpy(KERNEL).float()) if is_blur else sharpened(x, kernel_size=11)
    out.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad.mean() > 0.5, "a brighter picture stays a brighter picture"
