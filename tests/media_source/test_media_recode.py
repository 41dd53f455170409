"""Pictures through codecs in memory: counts and order, how much is lost, no shift of colour, the same bytes again."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamsr.errors import ConfigError
from streamsr.frames import PixelLayout, Subsampling
from streamsr.media.chroma import Picture, padded, through_chroma
from streamsr.media.fields import deinterlaced, woven
from streamsr.media.generation import CODECS, CodecName, Generation
from streamsr.media.recode import recode
from tests.media import draw_planes, read_number

ALL: tuple[CodecName, ...] = tuple(CODECS)
WITH_CHROMA = [(codec, chroma) for codec in ALL for chroma in CODECS[codec].chroma]


def numbered(first: int, count: int, width: int = 64, height: int = 48) -> list[Picture]:
    layout = PixelLayout()
    lumas = [draw_planes(first + number, layout, width, height)[0] for number in range(count)]
    return [np.repeat(luma.astype(np.uint8)[..., None], 3, 2) for luma in lumas]


def scene(count: int, width: int = 64, height: int = 64, seed: int = 0) -> list[Picture]:
    """Soft coloured shapes with a little texture that move to the right, 2 px a picture."""
    rng = np.random.default_rng(seed)
    wide = (width + 2 * count, height)
    soft = cv2.resize(rng.integers(40, 216, (5, 7, 3), dtype=np.uint8), wide, interpolation=cv2.INTER_CUBIC)
    texture = cv2.GaussianBlur(rng.normal(0, 20, (*soft.shape[:2], 1)), (0, 0), 1.0)[..., None]
    film = np.clip(soft + texture, 0, 255).round().astype(np.uint8)
    return [np.ascontiguousarray(film[:, 2 * number : 2 * number + width]) for number in range(count)]


def psnr(a: list[Picture], b: list[Picture]) -> float:
    error = np.mean((np.stack(a).astype(float) - np.stack(b)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def channel_shift(a: list[Picture], b: list[Picture]) -> float:
    """Greatest mean error of a colour, of 255."""
    return float(np.abs((np.stack(a).astype(float) - np.stack(b)).mean((0, 1, 2))).max())


@pytest.mark.parametrize("codec", ALL)
@pytest.mark.parametrize("effort", ["fast", "good"])
def test_as_many_pictures_in_order(codec: CodecName, effort: str) -> None:
    facts = CODECS[codec]
    middle = sum(facts.quality) // 2
    for count, gop in ((1, 1), (2, 12), (3, 1), (7, 3), (12, 12)):
        made = Generation(codec=codec, quality=middle, gop=gop, b_frames=facts.most_b_frames, effort=effort)  # type: ignore[arg-type]
        frames = numbered(100, count)
        coded = recode(frames, made)
        assert [read_number(frame[..., 1]) for frame in coded] == list(range(100, 100 + count))
        assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 for frame in coded)


@pytest.mark.parametrize(("codec", "chroma"), WITH_CHROMA)
def test_the_best_quality_costs_little_and_shifts_no_colour(codec: CodecName, chroma: Subsampling) -> None:
    frames = scene(3)
    coded = recode(frames, Generation(codec=codec, quality=CODECS[codec].quality[0], chroma=chroma))
    assert psnr(frames, coded) > 40
    assert channel_shift(frames, coded) < 0.5
    for axis in (1, 2):  # nor does anything move: best fit of a displacement to the difference of red and green
        before, after = (np.stack(x).astype(float)[..., 0] - np.stack(x)[..., 1] for x in (frames, coded))
        slope = np.gradient(before, axis=axis)
        assert abs((slope * (after - before)).sum() / (slope**2).sum()) < 0.05, "pixels"


@pytest.mark.parametrize("codec", ["h264", "vp9", "hevc"])
def test_colour_path_costs_less_than_a_decibel(codec: CodecName) -> None:
    """Against chroma subsampling alone, where coding itself is nearly lossless."""
    frames = scene(2)
    alone = psnr(frames, through_chroma(frames, "420"))
    through = through_chroma(recode(frames, Generation(codec=codec, quality=1, gop=1)), "420")
    assert alone > 45
    assert psnr(frames, through_chroma(through_chroma(frames, "420"), "420")) > alone - 1
    assert psnr(through_chroma(frames, "420"), through) > 44


def test_subsampling_agrees_with_a_formula() -> None:
    """Gray stays gray to a level, and flat colours stay what they are."""
    for level in (0, 1, 16, 100, 235, 255):
        gray = np.full((16, 16, 3), level, np.uint8)
        assert np.abs(through_chroma([gray], "420")[0].astype(int) - level).max() <= 1
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (20, 130, 220)):
        flat = np.full((18, 34, 3), colour, np.uint8)
        assert np.abs(through_chroma([flat], "420")[0].astype(int) - colour).max() <= 2
    sharp = np.zeros((32, 32, 3), np.uint8)
    sharp[:, 16:, 0] = sharp[:, :16, 2] = 255
    losses = [np.abs(through_chroma([sharp], chroma)[0].astype(int) - sharp).mean() for chroma in ("420", "422", "444")]
    assert losses[0] >= losses[1] > 1 > losses[2]
    assert not np.array_equal(through_chroma([sharp], "420", "nearest")[0], through_chroma([sharp], "420")[0])


@pytest.mark.parametrize("codec", ALL)
@pytest.mark.parametrize("effort", ["fast", "good"])
def test_worse_quality_looks_worse(codec: CodecName, effort: str) -> None:
    best, worst = CODECS[codec].quality
    frames = scene(4)
    qualities = np.linspace(best, worst, 5).round().astype(int)
    results = [recode(frames, Generation(codec=codec, quality=int(q), effort=effort)) for q in qualities]  # type: ignore[arg-type]
    losses = [psnr(frames, result) for result in results]
    assert all(a > b + 0.3 for a, b in pairwise(losses)), losses
    assert losses[0] > 40
    assert 15 < losses[-1] < 36
    assert all(channel_shift(frames, result) < 4 for result in results)


@pytest.mark.parametrize("codec", ALL)
def test_any_size(codec: CodecName) -> None:
    for width, height in ((1, 1), (2, 3), (17, 33), (100, 7), (65, 64)):
        frames = scene(2, width, height)
        coded = recode(frames, Generation(codec=codec, quality=CODECS[codec].quality[0]))
        assert [frame.shape for frame in coded] == [(height, width, 3)] * 2
        # Of a few pixels the colours are those of the border that was added to them.
        assert psnr(through_chroma(frames, "420"), coded) > (34 if min(width, height) > 6 else 18), (width, height)


def test_structure_matters() -> None:
    """A key picture at every place, or predicted ones with B-frames: other bytes, the same number of them."""
    frames = scene(6)
    kinds = [Generation(codec="h264", quality=30, gop=gop, b_frames=b) for gop, b in ((1, 0), (12, 0), (12, 3))]
    results = [np.stack(recode(frames, kind)) for kind in kinds]
    assert len({result.tobytes() for result in results}) == 3


def test_nothing_and_wrong_wishes() -> None:
    assert recode([], Generation(codec="h264", quality=20)) == []
    for wrong in (
        {"codec": "av2", "quality": 3},
        {"codec": "h264", "quality": 0},
        {"codec": "mpeg2", "quality": 32},
        {"codec": "vp8", "quality": 20, "chroma": "444"},
        {"codec": "mpeg4", "quality": 20, "b_frames": 3},
        {"codec": "vp9", "quality": 20, "gop": 0},
    ):
        with pytest.raises(ConfigError):
            Generation(**wrong)  # type: ignore[arg-type]


def test_no_thread_outlives_a_call() -> None:
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("threads are counted through /proc")
    before = len(list(tasks.iterdir()))
    for codec in ALL:
        recode(scene(3), Generation(codec=codec, quality=20))
        assert len(list(tasks.iterdir())) == before, codec


DIGESTS = """
import hashlib
from streamsr.media.generation import CODECS, Generation
from streamsr.media.recode import recode
from tests.media_source.test_media_recode import scene
for codec, facts in CODECS.items():
    for effort in ("fast", "good"):
        for width in (64, 96):
            made = Generation(codec=codec, quality=24, effort=effort, b_frames=min(1, facts.most_b_frames))
            print(hashlib.sha256(b"".join(x.tobytes() for x in recode(scene(4, width), made))).hexdigest())
"""


@pytest.mark.slow
def test_the_same_bytes_in_every_process() -> None:
    """Also where fresh memory holds other rubbish, which an encoder that reads what it never wrote would show."""
    root = Path(__file__).resolve().parents[2]
    runs = [
        subprocess.run(
            [sys.executable, "-c", DIGESTS],
            cwd=root,
            env={**os.environ, "MALLOC_PERTURB_": rubbish, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        ).stdout
        for rubbish in ("1", "170")
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[0].split())) == len(runs[0].split()) == 24


def test_the_same_bytes_twice() -> None:
    for codec in ALL:
        made = Generation(codec=codec, quality=22)
        first, second = (hashlib.sha256(np.stack(recode(scene(5), made)).tobytes()).digest() for _ in range(2))
        assert first == second, codec


@pytest.mark.parametrize("top_first", [True, False])
def test_weaving_takes_rows_of_neighbours(top_first: bool) -> None:
    frames = [np.full((8, 8, 3), 10 * number, np.uint8) for number in range(4)]
    rows = [[int(value) for value in frame[:2, 0, 0]] for frame in woven(frames, top_first=top_first)]
    assert rows == [pair if top_first else pair[::-1] for pair in ([0, 10], [10, 20], [20, 30], [30, 30])]


@pytest.mark.parametrize("how", ["bwdif", "yadif", "lines"])
@pytest.mark.parametrize("top_first", [True, False])
def test_deinterlacing_keeps_own_rows_and_order(how: str, top_first: bool) -> None:
    frames = scene(5, 32, 24)
    back = deinterlaced(woven(frames, top_first=top_first), how, top_first=top_first)  # type: ignore[arg-type]
    assert len(back) == 5
    own = 0 if top_first else 1
    for frame, result in zip(frames, back, strict=True):
        assert np.array_equal(result[own::2], frame[own::2])
        assert psnr([frame], [result]) > 24
    still = [frames[0]] * 3
    if how != "lines":  # filters that look at other pictures lose less where nothing moves
        moving, resting = psnr(frames[1:2], back[1:2]), psnr(still, deinterlaced(still, how, top_first=top_first))  # type: ignore[arg-type]
        assert resting > moving
    numbers = deinterlaced(numbered(40, 4), how, top_first=top_first)  # type: ignore[arg-type]
    assert [read_number(frame[..., 1]) for frame in numbers] == [40, 41, 42, 43]


def test_deinterlacing_of_tiny_pictures() -> None:
    for height, width in ((1, 1), (2, 5), (3, 3), (7, 9)):
        frames = scene(2, width, height)
        for how in ("bwdif", "yadif", "lines"):
            back = deinterlaced(woven(frames, top_first=False), how, top_first=False)
            assert [frame.shape for frame in back] == [(height, width, 3)] * 2


def test_padding_repeats_the_border() -> None:
    frame = scene(1, 5, 3)[0]
    even = padded(frame)
    assert even.shape == (4, 6, 3)
    assert np.array_equal(even[:3, :5], frame)
    assert np.array_equal(even[3, :5], frame[2])
    assert np.array_equal(even[:3, 5], frame[:, 4])
