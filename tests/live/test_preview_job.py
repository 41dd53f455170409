"""The preview without a window: real sources, the real network, pairs counted and looked at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipelines.preview_job import Pair, PreviewConfig, PreviewJob, pushed_info
from pipelines.preview_plan import MAX_PIXELS, plan_preview, real_time_size, shown_size
from pipelines.preview_upscaler import as_rgb
from streamsr.config import UpscaleConfig
from streamsr.errors import ConfigError, SourceError, WeightsError
from streamsr.frames import ColorTags, Orientation, PixelLayout
from streamsr.live.address import parse_source
from streamsr.live_config import IngestConfig
from streamsr.live_frames import LiveInfo
from streamsr.models.weights import load_network
from tests.live.server_process import until

SMALL = PreviewConfig(upscale=UpscaleConfig(device="cpu", model="lite", scale=2))


class Watched:
    """A job, and what came of it. Copies of the pairs' pictures."""

    def __init__(self, source: str | None, cfg: PreviewConfig) -> None:
        self.pairs: list[tuple[Pair, np.ndarray, np.ndarray]] = []
        self.notices: list[str] = []
        self.ended = threading.Event()
        address = parse_source(source) if source is not None else None
        self.job = PreviewJob(address, cfg, self._keep, self.notices.append, self.ended.set)

    def _keep(self, pair: Pair) -> None:
        self.pairs.append((pair, pair.original.copy(), pair.upscaled[0].copy()))

    def last(self) -> Pair:
        return self.pairs[-1][0]

    def until(self, condition: Callable[[Pair], bool], what: str) -> None:
        until(lambda: bool(self.pairs) and condition(self.last()), what)


@contextmanager
def watched(source: str | None, cfg: PreviewConfig = SMALL) -> Iterator[Watched]:
    found = Watched(source, cfg)
    try:
        found.job.start()
        yield found
    finally:
        began = time.monotonic()
        found.job.close()
        assert time.monotonic() - began < 3, "a close is quick"


def test_pairs_come_upscaled_and_their_file_ends(sound_clip: Path) -> None:
    with watched(str(sound_clip)) as seen:
        assert seen.ended.wait(30)
        until(lambda: seen.job.stats().state == "ended", "the end is known")
    assert seen.job.error is None
    assert len(seen.pairs) > 10
    pair, original, luma = seen.pairs[-1]
    assert original.shape == (90, 160, 3)
    assert luma.shape == (180, 320)
    assert [plane.shape for plane in pair.upscaled] == [(180, 320), (90, 160), (90, 160)]
    times = [each.time_s for each, _, _ in seen.pairs]
    assert times == sorted(set(times)), "the newest picture, each once"
    gray = original.astype(float) @ (0.299, 0.587, 0.114) * 219 / 255 + 16
    halved = luma.reshape(90, 2, 160, 2).mean((1, 3))
    assert np.abs(gray - halved).mean() < 6, "both show the same picture"


def test_model_and_scale_change_while_pictures_pass() -> None:
    with watched("lavfi:testsrc2=s=96x64:r=20") as seen:
        seen.until(lambda pair: pair.size_out == (192, 128), "twice the size")
        seen.job.set_scale(3)
        seen.until(lambda pair: pair.size_out == (288, 192), "three times the size")
        assert seen.job.stats().scale == 3
        seen.job.set_model("no such model")
        until(lambda: any("no such model" in line for line in seen.notices), "it is said")
        seen.job.set_scale(99)
        until(lambda: any("99" in line for line in seen.notices), "that too")
        number = seen.last().number
        seen.until(lambda pair: pair.number > number + 2, "pictures go on")
        assert seen.last().size_out == (288, 192)
        stats = seen.job.stats()
    assert stats.model == "lite"
    assert "lite" in seen.job.models
    assert stats.state == "live"
    assert stats.fps_out > 0
    assert 0 < stats.upscale_p50_ms <= stats.latency_p99_ms
    assert seen.job.error is None


def test_pictures_from_elsewhere_keep_their_time() -> None:
    """As a browser sends them: newest wins, and the pair says which one it was."""
    with watched(None) as seen:
        info = pushed_info(64, 48)
        for number in range(1, 40):
            packed = np.full(64 * 48 * 3 // 2, 128, np.uint8)
            packed[: 64 * 48] = 16 + number * 5
            seen.job.push(packed.data, info, float(number))
        seen.until(lambda pair: pair.time_s == 39.0, "the newest one")
        assert seen.job.stats().dropped > 0
    _, original, luma = seen.pairs[-1]
    assert np.abs(original.astype(int) - round(39 * 5 / 219 * 255)).max() <= 3
    assert abs(float(luma.mean()) - (16 + 39 * 5)) < 6


def test_a_slow_viewer_gets_the_newest_and_holds_nothing_up() -> None:
    hold = threading.Event()
    seen = Watched("lavfi:testsrc2=s=64x48:r=50", SMALL)
    first = threading.Event()

    def slow(_: Pair) -> None:
        first.set()
        hold.wait(10)

    job = PreviewJob(parse_source("lavfi:testsrc2=s=64x48:r=50"), SMALL, slow, seen.notices.append)
    job.start()
    try:
        assert first.wait(30)
        until(lambda: job.stats().dropped > 20, "pictures replace each other")
    finally:
        hold.set()
        job.close()


def test_a_cpu_gets_pictures_it_can_keep_up_with() -> None:
    cfg = PreviewConfig(upscale=UpscaleConfig(device="cpu"))
    with watched("lavfi:testsrc2=s=1280x720:r=30", cfg) as seen:
        seen.until(lambda pair: pair.number > 5, "pictures")
        stats = seen.job.stats()
    assert stats.model == "lite"
    assert stats.size_source == (1280, 720)
    width, height = stats.size_in
    assert width < 1280
    assert abs(width / height - 16 / 9) < 0.03
    assert any(f"made {width}x{height}" in line and "lite" in line for line in seen.notices), "and it is said"


@pytest.mark.parametrize(
    ("cost", "size"),
    [(1e-9, (1280, 720)), (0.6 / 30 / (320 * 180), (320, 180)), (1.0, (114, 64))],
)
def test_real_time_sizes_keep_the_shape(cost: float, size: tuple[int, int]) -> None:
    found, fps = real_time_size((1280, 720), Fraction(30), lambda: cost)
    assert (found, fps) == (size, 30.0)


def stored(width: int, height: int, **more: object) -> LiveInfo:
    info = {"layout": PixelLayout(), "color": ColorTags(matrix=1, chroma_location=1), "rate": None, **more}
    return LiveInfo(0, "test", "raw", width, height, **info)  # type: ignore[arg-type] # a test's own table


@pytest.mark.parametrize(
    ("info", "shown"),
    [
        (stored(64, 48), (64, 48)),
        (stored(64, 48, sample_aspect=Fraction(2)), (128, 48)),
        (stored(64, 48, sample_aspect=Fraction(1, 2)), (64, 96)),
        (stored(64, 48, orientation=Orientation(90)), (48, 64)),
        (stored(64, 48, layout=PixelLayout("422", 10)), (64, 48)),
    ],
)
def test_any_stored_picture_is_shown_upright_and_square(info: LiveInfo, shown: tuple[int, int]) -> None:
    """The upper left quarter is white; turned clockwise it lies in the upper right."""
    import torch

    assert shown_size(info) == shown
    memory = memoryview(bytearray(info.layout.num_bytes(info.width, info.height)))
    step = 1 << (info.layout.depth - 8)
    luma, *chroma = info.layout.planes_of(memory, info.width, info.height)
    luma[:] = 16 * step
    luma[: info.height // 2, : info.width // 2] = 235 * step
    for plane in chroma:
        plane[:] = 128 * step
    rgb = as_rgb(memory, info, shown, torch.device("cpu"))
    assert rgb.shape == (shown[1], shown[0], 3)
    left, right = rgb[8, 8], rgb[8, -8]
    white, black = (right, left) if info.orientation.clockwise else (left, right)
    assert white.min() > 250
    assert black.max() < 5


def test_sizes_beyond_a_preview_are_refused() -> None:
    network = load_network("lite", None)
    with pytest.raises(ConfigError, match="too large for a preview"):
        plan_preview(UpscaleConfig(scale=8), stored(1920, 1080), network, (1920, 1080))
    assert plan_preview(UpscaleConfig(), stored(320, 180), network, (320, 180)).scale == 4
    assert MAX_PIXELS > 4096 * 2304


@pytest.mark.parametrize(
    ("cfg", "error"),
    [
        (UpscaleConfig(device="cpu", model="no-such-model"), WeightsError),
        (UpscaleConfig(device="cuda:99"), ConfigError),
    ],
)
def test_what_cannot_be_is_said_at_the_start(cfg: UpscaleConfig, error: type[Exception]) -> None:
    job = PreviewJob(None, PreviewConfig(upscale=cfg), lambda _: None, lambda _: None)
    with pytest.raises(error):
        job.start()
    job.close()


@pytest.mark.parametrize("source", ["camera:99", "no-such-file.mp4"])
def test_a_source_that_is_not_there_ends_the_job(source: str) -> None:
    with watched(source, SMALL.model_copy(update={"ingest": IngestConfig(retry="never")})) as seen:
        assert seen.ended.wait(30)
    assert isinstance(seen.job.error, SourceError)
    assert seen.job.error.remedy


def test_a_viewer_that_fails_ends_the_job_with_its_name() -> None:
    ended = threading.Event()

    def broken(_: Pair) -> None:
        raise ValueError("I saw nothing")

    job = PreviewJob(parse_source("lavfi:testsrc2=s=64x48:r=20"), SMALL, broken, lambda _: None, ended.set)
    job.start()
    try:
        assert ended.wait(30)
        assert "I saw nothing" in str(job.error)
    finally:
        job.close()


def test_a_picture_pushed_after_the_end_does_nothing() -> None:
    job = PreviewJob(None, PreviewConfig(), lambda pair: None, lambda text: None)
    job.close()
    job.push(memoryview(bytes(64 * 36 * 3 // 2)), pushed_info(64, 36), 0.0)
