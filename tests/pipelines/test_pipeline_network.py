"""Which weights a job wants and lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.network import missing_weights
from streamsr.config import UpscaleConfig


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSR_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"device": "cpu"}, []),
        ({"model": "lite"}, []),
        ({"model": "x4plus"}, ["x4plus"]),
        ({"model": "RealESRGAN_x4plus"}, ["x4plus"]),
        ({"model": "general-x4v3", "denoise": 0.5}, ["general-x4v3", "general-wdn-x4v3"]),
        ({"model": "somewhere/own.pth"}, []),
        ({"model": "no-such-model"}, []),
    ],
)
def test_what_is_missing(options: dict[str, object], expected: list[str]) -> None:
    assert missing_weights(UpscaleConfig.model_validate(options)) == expected


def test_what_is_at_hand_is_not_missing(tmp_path: Path) -> None:
    (tmp_path / "RealESRGAN_x4plus.pth").write_bytes(b"whatever")
    assert missing_weights(UpscaleConfig(model="x4plus")) == []
