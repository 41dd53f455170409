"""Deinterlacing keeps count, order, time, depth and layout."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamsr.config import SourceConfig
from streamsr.media.source import open_source
from tests.media import make_clip, read_number


def comb(luma: np.ndarray) -> float:
    """How much every second row differs from the mean of its neighbours."""
    rows = luma.astype(float)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_interlaced_is_deinterlaced_one_to_one(tmp_path: Path, order: str) -> None:
    clip = make_clip(tmp_path / "a.mkv", frames=11, size=(64, 64), interlaced=order, b_frames=2)
    with open_source(clip, SourceConfig()) as source:
        frames = list(source.frames())
        assert source.info.interlaced
        assert len(source.notices) == 1
        assert source.notices[0].startswith("interlaced")
        assert source.notices[0].endswith("deinterlaced with bwdif")
    with open_source(clip, SourceConfig(deinterlace=False)) as source:
        plain = list(source.frames())
        assert source.notices[0].endswith("left as it is")
    assert [read_number(frame.planes[0]) for frame in frames] == list(range(11))
    assert [frame.stamp for frame in frames] == [frame.stamp for frame in plain]
    assert any((a.planes[0] != b.planes[0]).any() for a, b in zip(frames, plain, strict=True))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p12le", "gbrp10le"])
def test_forced_keeps_the_layout_and_any_times(tmp_path: Path, pix_fmt: str) -> None:
    times = [0, 10, 15, 40, 100, 101, 102, 200]
    changes: dict[str, Any] = {"frames": 8, "codec": "ffv1", "pix_fmt": pix_fmt, "time_base": Fraction(1, 1000)}
    clip = make_clip(tmp_path / "a.mkv", pts=times, **changes)
    with open_source(clip, SourceConfig(deinterlace=True)) as source:
        frames = list(source.frames())
        assert source.info.layout.pix_fmt == pix_fmt
        assert not source.info.interlaced
    assert [frame.stamp.pts for frame in frames] == times
    assert [read_number(frame.planes[0]) for frame in frames] == list(range(8))
    assert {frame.planes[1].dtype for frame in frames} == {source.info.layout.dtype}


def test_one_interlaced_picture(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", frames=1, interlaced="tff")
    with open_source(clip, SourceConfig()) as source:
        assert [read_number(frame.planes[0]) for frame in source.frames()] == [0]


def test_combs_are_gone(tmp_path: Path) -> None:
    """A bar that is elsewhere in the second field of each picture."""
    import av

    path = tmp_path / "combed.mkv"
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.flags |= 1 << 18 | 1 << 29
        stream.codec_context.options = {"x264-params": "tff=1", "crf": "5"}
        for index in range(8):
            picture = np.full((96, 96), 128, np.uint8)
            picture[:64] = 30
            for field in (0, 1):
                at = 4 + 8 * index + 4 * field
                picture[field:64:2, at : at + 16] = 220
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        output.mux(stream.encode(None))
    combs = {}
    for wanted in (None, False):
        with open_source(path, SourceConfig(deinterlace=wanted)) as source:
            combs[wanted] = [comb(frame.planes[0]) for frame in source.frames()]
    assert len(combs[None]) == len(combs[False]) == 8
    assert max(combs[None]) < 0.3 * min(combs[False])


def test_a_size_change_rebuilds_the_filter(tmp_path: Path) -> None:
    parts = [make_clip(tmp_path / f"{n}.ts", frames=4, size=size) for n, size in enumerate([(64, 48), (96, 64)])]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_source(joined, SourceConfig(deinterlace=True)) as source:
        frames = list(source.frames())
    assert [frame.width for frame in frames] == [64] * 4 + [96] * 4
    assert [read_number(frame.planes[0]) for frame in frames] == [0, 1, 2, 3] * 2


def test_interlace_that_begins_later_is_announced(tmp_path: Path) -> None:
    parts = [make_clip(tmp_path / "0.ts", frames=20), make_clip(tmp_path / "1.ts", frames=6, interlaced="tff")]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_source(joined, SourceConfig()) as source:
        assert source.notices == []
        frames = list(source.frames())
        assert "interlaced from picture 20 on: deinterlaced with bwdif" in source.notices
    assert [read_number(frame.planes[0]) for frame in frames] == [*range(20), *range(6)]
