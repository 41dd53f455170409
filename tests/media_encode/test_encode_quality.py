"""The scale of quality: more is better and larger, in every encoder, and means about the same in all of them."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamsr.frames import PixelLayout
from streamsr.media.encoders import SOFTWARE, EncoderSettings
from streamsr.media.quality import interpolate, preset_options, presets_of, quality_options
from tests.media_encode.rig import Encoded, decoded, encode, even_pts, info_for, settings_for

POINTS = (0, 25, 50, 75, 100)
SIZE = (240, 136)
ENCODERS = [*SOFTWARE.values(), "h264_nvenc", "hevc_nvenc", "av1_nvenc", "hevc_qsv", "h264_amf", "h264_videotoolbox"]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_step_of_the_scale_is_in_order(encoder: str) -> None:
    key = {"libx264": "crf", "libx265": "crf", "libsvtav1": "crf", "libvpx-vp9": "crf"}.get(encoder)
    for name in ("cq", "global_quality", "qp_i"):
        key = key or (name if name in quality_options(encoder, 50, is_444=False) else None)
    if key is None:
        assert encoder in ("prores_ks", "ffv1")
        return
    values = [float(quality_options(encoder, quality, is_444=False)[key]) for quality in range(101)]
    values = values if encoder.endswith("videotoolbox") else values[::-1]
    assert values == sorted(values)
    assert len(set(values)) > 20


def test_interpolation_meets_its_anchors() -> None:
    anchors = (44.0, 36.0, 27.0, 18.0, 8.0)
    assert [interpolate(anchors, point) for point in POINTS] == list(anchors)
    assert interpolate(anchors, 60) == 23.5


def test_h264_at_75_is_crf_18() -> None:
    assert quality_options("libx264", 75, is_444=False) == {"crf": "18"}


@pytest.mark.parametrize("encoder", SOFTWARE.values())
def test_auto_presets_exist_and_large_pictures_get_faster_ones(encoder: str) -> None:
    for pixels in (320 * 240, 3840 * 2160):
        for cores in (2, 16):
            options = preset_options(encoder, "auto", pixels=pixels, cores=cores)
            preset = options.get("preset") or options.get("cpu-used")
            assert preset is None or preset in presets_of(encoder)


@pytest.fixture(scope="module")
def real_pictures() -> list[Any]:
    """Ten pictures of a real clip, SIZE, 8 bit 4:2:0 planes."""
    folder = os.environ.get("STREAMSR_MEDIA")
    if not folder:
        pytest.skip("set STREAMSR_MEDIA to run this test, see tests/conftest.py")
    found: list[Any] = []
    with av.open(str(Path(folder) / "clips" / "flower-540p-h264-aac.mp4")) as container:
        for frame in container.decode(video=0):
            small: Any = frame.reformat(*SIZE, "yuv420p", interpolation="AREA")
            planes = [
                np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].copy()
                for plane in small.planes
            ]
            found.append(tuple(planes))
            if len(found) == 10:
                return found
    return found


def psnr(pictures: list[Any], path: Path, layout: PixelLayout) -> float:
    found = decoded(path, layout.pix_fmt)
    errors = [
        np.mean((wanted[0].astype(float) - planes[0]) ** 2) for wanted, (_, planes) in zip(pictures, found, strict=True)
    ]
    return 10 * math.log10(255**2 / float(np.mean(errors)))


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
def test_more_is_better_and_equal_numbers_look_alike(tmp_path: Path, real_pictures: list[Any], codec: str) -> None:
    """Within 4.5 dB of x264 in this short clip; docs/quality.md has the calibration on longer ones."""

    def made(settings: EncoderSettings, name: str) -> Encoded:
        return encode(tmp_path / name, settings, even_pts(10), draw=lambda number: real_pictures[number])

    info = info_for(size=SIZE)
    found = []
    for quality in (15, 50, 85):
        settings = settings_for(".mp4", info, codec=codec, quality=quality, preset="auto")
        done = made(settings, f"{quality}.mp4")
        found.append((done.stats.num_bytes, psnr(real_pictures, done.path, settings.layout)))
    assert found == sorted(found)
    reference = made(settings_for(".mp4", info, codec="h264", quality=50, preset="auto"), "reference.mp4")
    assert abs(found[1][1] - psnr(real_pictures, reference.path, PixelLayout())) < 4.5
