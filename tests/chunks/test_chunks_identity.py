"""What makes a job this job: the bytes of its source, and the settings that change its result."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from streamsr.chunks import identity
from streamsr.chunks.identity import SourceHash, hash_source, job_identity
from streamsr.chunks.workdir import known_sources, open_workdir
from streamsr.config import load_config
from streamsr.errors import ConfigError, SourceError

SOURCE = SourceHash(12, 34, 56, "ab")


def test_sources_are_hashed_once(tmp_path: Path) -> None:
    film, folder = tmp_path / "film.mp4", tmp_path / "work"
    film.write_bytes(os.urandom(identity.BLOCK_BYTES + 100))
    told: list[tuple[int, int]] = []
    notices: list[str] = []
    found = hash_source(film, progress=lambda done, total: told.append((done, total)))
    assert found.sha256 == hashlib.sha256(film.read_bytes()).hexdigest()
    size = film.stat().st_size
    assert told == [(identity.BLOCK_BYTES, size), (size, size)]
    for _ in range(2):
        with open_workdir(folder, {}, source=found, notice=notices.append) as work:
            assert len(work.notes("source")) == 1
    assert known_sources(folder) == [found]
    told.clear()
    assert hash_source(film, known_sources(folder), lambda *told_: told.append(told_)) == found
    assert not told, "not read again"
    film.write_bytes(bytes(size))
    os.utime(film, ns=(1, 1))
    changed = hash_source(film, known_sources(folder))
    assert changed.sha256 != found.sha256
    with open_workdir(folder, {}, source=changed, notice=notices.append):
        assert known_sources(folder) == [found, changed]


def test_a_source_that_cannot_be_hashed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        hash_source(tmp_path / "none.mp4")
    film = tmp_path / "film.mp4"
    film.write_bytes(b"begin")

    def grows(done: int, total: int) -> None:
        if total == 5 and done == 5:
            with film.open("ab") as file:
                file.write(b"more")

    with pytest.raises(SourceError, match="is being written to"):
        hash_source(film, progress=grows)


def test_the_identity_holds_what_changes_the_result_and_nothing_else() -> None:
    def of(*assignments: str, **changes: Any) -> dict[str, Any]:
        values: dict[str, Any] = {"suffix": ".mkv", "model": "lite", "model_sha256": "12", "encoder": {"gop": 240}}
        return job_identity(load_config(assignments=assignments), SOURCE, **values | changes)

    same = (
        "upscale.device='cpu'",
        "upscale.batch=3",
        "chunks.workers_per_gpu=2",
        "chunks.gpus='0,1'",
        "chunks.work_dir='x'",
        "chunks.resume=true",
        "run.debug=true",
        "output.overwrite=true",
        "run.progress='json'",
    )
    assert of(*same) == of()
    for key, change in {
        "settings.encode.quality": "encode.quality=9",
        "settings.chunks.chunk_s": "chunks.chunk_s=3",
        "settings.source.start_s": "source.start_s=1",
        "settings.upscale.precision": "upscale.precision='fp32'",
    }.items():
        with pytest.raises(ConfigError, match=rf"{key} was "):
            identity.refuse_other(of(), of(change), Path())
    assert of(model_sha256="13") != of() != of(suffix=".mp4")
    assert of(encoder={"gop": 1}) != of() != of(plan={"cuts": 3})
    assert set(of()["versions"]) == {"streamsr", "torch", "av"}
    assert "+" not in of()["versions"]["torch"]
