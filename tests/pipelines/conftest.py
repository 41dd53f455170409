"""The tiny network that all tests of the whole path share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.jobs import write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")
