"""`bench --chunked` measures what it says, on a clip of its user."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import bench_chunks, bench_encode
from pipelines.bench_simulate import WORKERS, simulated_records
from streamsr.chunks.simulate import Conditions, Measured
from streamsr.config import SourceConfig, load_config
from streamsr.errors import ConfigError, SourceError
from streamsr.media.index import index_frames
from streamsr.media.repeat import repeat_clip
from tests.media import AudioTrack, make_clip


@pytest.mark.slow
def test_every_record_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_chunks, "LONG_S", 4.0)
    monkeypatch.setattr(bench_chunks, "TURNS", 1)
    monkeypatch.setattr(bench_encode, "TURNS", 1)
    clip = make_clip(tmp_path / "clip.mp4", frames=24, size=(96, 64), audio=(AudioTrack(),))
    cfg = load_config(options={"upscale.model": "lite", "upscale.device": "cpu"})
    said: list[str] = []
    records = bench_chunks.run(cfg, clip, 0.1, said.append)
    cores = len(bench_encode.usable_core_numbers())
    assert said == [
        f"libx264 on 1 to {cores} cores",
        "2 workers, and 2 independent jobs",
        "planning and joining 4 s of film",
    ]
    names = [str(record["what"]) for record in records]
    assert names[0] == "1 x libx264, 1 thread each"
    assert f"one libx264, {cores} threads" in names
    ends = next(record for record in records if record["what"] == "planning and joining 4 s")
    assert str(ends["ratio"]).endswith("% of the job")
    workers = next(record for record in records if str(record["what"]).endswith("2 workers") and "size" in record)
    assert (workers["size"], str(workers["against"])[:18]) == ("384x256", "2 independent jobs")
    assert sum(name.startswith("simulation") for name in names) == 2 * len(WORKERS)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_missing_sample_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench_chunks, "SAMPLE", tmp_path / "gone.mp4")
    with pytest.raises(ConfigError, match="--clip FILE"):
        bench_chunks.run(load_config(), None, 0.05, lambda text: None)


def test_simulated_rows_say_so() -> None:
    conditions = Conditions(plan_s=1, start_s=1, storage_rate=1e9, join_rate=1e6)
    records = simulated_records([(Measured(20, 1000, 100_000), 5.0)], conditions)
    assert all(str(record["what"]).startswith("simulation: ") for record in records)
    assert records[0]["ms"] == round((1 + 1 + 720 * 40 + 144) * 1e3)
    assert records[-1]["note"] == "joining is the wall from 512 workers on"


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_repeated_clip_is_as_long_as_asked(tmp_path: Path, name: str) -> None:
    clip = make_clip(tmp_path / name, frames=30, size=(96, 64), audio=(AudioTrack(),))
    once = index_frames(clip, SourceConfig())
    repeat_clip(clip, tmp_path / f"long-{name}", 7.0)
    often = index_frames(tmp_path / f"long-{name}", SourceConfig())
    assert len(often.pts) % len(once.pts) == 0
    shown = sorted(often.pts.tolist())
    seconds = float((shown[-1] - shown[0]) * often.time_base)
    assert 6.8 <= seconds <= 7.0 + 2.0
    assert len(set(shown)) == len(shown)


def test_no_clip_cannot_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(SourceError, match="cannot be repeated"):
        repeat_clip(tmp_path / "text.mp4", tmp_path / "long.mp4", 7.0)
