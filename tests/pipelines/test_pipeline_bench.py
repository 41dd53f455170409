"""The benchmark measures what it says, on a clip of its user."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import bench
from streamsr.config import load_config
from streamsr.errors import ConfigError
from tests.media import AudioTrack, make_clip


def test_every_record_is_there(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=24, size=(96, 64), audio=(AudioTrack(),))
    said: list[str] = []
    records = bench.run(
        load_config(options={"upscale.model": "lite", "upscale.device": "cpu"}), clip, 0.05, said.append
    )
    assert [record["what"] for record in records] == ["lite network", "lite planes to planes", "lite whole job"]
    assert said == ["lite: network and way out, 96x64", "whole jobs"]
    assert records[0]["size"] == "96x64 x4"
    assert records[1]["size"] == "96x64 -> 384x256"
    assert records[2]["size"] == "384x256"
    for record in records:
        assert float(str(record["ms"])) > 0
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_missing_sample_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "SAMPLE", tmp_path / "gone.mp4")
    with pytest.raises(ConfigError, match="--clip FILE"):
        bench.run(load_config(), None, 0.05, lambda text: None)
