"""Half precision beside fp32, with real weights on real pictures."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import cv2
import pytest
import torch

from streamsr.models.weights import load_network


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("picture", ["cartoon/glitch-cubi_fox.png", "natural/skimage-astronaut.png"])
def test_half_precision_stays_near_fp32(weights_dir: Path, train_dir: Path, picture: str, dtype: torch.dtype) -> None:
    """At least 50 dB. The picture that the network corrects stays in fp32, which is worth some 5 dB in bf16."""
    pixels = cv2.imread(str(train_dir / picture))
    assert pixels is not None
    small = cv2.resize(pixels, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)[:40, :56, ::-1].copy()
    lr_N3HW = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
    module = load_network(weights_dir / "realesr-animevideov3.pth").module
    with torch.inference_mode():
        exact = module(lr_N3HW).clamp(0, 1)
        half = deepcopy(module).to(dtype)(lr_N3HW).clamp(0, 1)
    assert half.dtype == torch.float32
    assert float(-10 * torch.log10((half - exact).square().mean())) > 50
