"""The loaders: the same crops whatever the number of workers; workers that die are errors; nothing stays behind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from streamsr.errors import ConfigError, StageFailed
from streamsr.train.crops import Crop, open_crops
from streamsr.train.loader import Loader, open_loader
from streamsr.train.sources import find_sources
from tests.train.data_pictures import data, some_pictures
from tests.train.loader_work import as_it_is, killed_at_5, process_id, refused_at_3


def open_some(
    folder: Path, workers: int, numbers: Any, make: Callable[[Crop], Any] = as_it_is, told: list[str] | None = None
) -> Loader[Any]:
    cfg = data(folder, workers=workers)
    notice = pytest.fail if told is None else told.append
    return open_loader(find_sources(cfg, notice), cfg, 3, numbers, make, notice)


def test_workers_change_nothing(tmp_path: Path) -> None:
    some_pictures(tmp_path)
    (tmp_path / "text.png").write_bytes(b"this is no picture")
    told: list[str] = []
    source = open_crops(data(tmp_path), 3, told.append)
    found = {}
    for workers in (0, 2):
        lines: list[str] = []
        with open_some(tmp_path, workers, itertools.count(4, 3), told=lines) as loader:
            found[workers] = list(islice(loader, 12))
        assert len(lines) == 1
        assert lines[0].startswith("skipped text.png")
    for alone, shared, number in zip(found[0], found[2], range(4, 40, 3), strict=True):
        assert alone.number == shared.number == number
        assert alone.name == shared.name
        assert torch.equal(alone.frames_T3HW, shared.frames_T3HW)
        assert torch.equal(alone.frames_T3HW, source.crop(number).frames_T3HW)


def test_the_numbers_may_end(tmp_path: Path) -> None:
    some_pictures(tmp_path)
    with open_some(tmp_path, 0, [5, 2]) as loader:
        assert [crop.number for crop in loader] == [5, 2]


def test_workers_are_processes_that_ctrl_c_does_not_end(tmp_path: Path) -> None:
    some_pictures(tmp_path)
    with open_some(tmp_path, 1, itertools.count(), process_id) as loader:
        ids = {process for process, _ in islice(loader, 6)}
    assert len(ids) == 1
    assert os.getpid() not in ids


def test_a_killed_worker_is_an_error(tmp_path: Path) -> None:
    some_pictures(tmp_path)
    with open_some(tmp_path, 1, itertools.count(), killed_at_5) as loader, pytest.raises(StageFailed, match="worker"):
        list(islice(loader, 12))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_arrives_as_it_was(tmp_path: Path, workers: int) -> None:
    some_pictures(tmp_path)
    with open_some(tmp_path, workers, itertools.count(), refused_at_3) as loader:
        assert [next(loader).number for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ConfigError) as caught:
            next(loader)
    assert str(caught.value) == "three is refused (here). Take four."
