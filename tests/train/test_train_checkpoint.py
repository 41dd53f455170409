"""Checkpoints on disk: whole or not at all, damaged ones passed over, another configuration refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from streamsr.errors import ConfigError, SinkError, WeightsError
from streamsr.train.checkpoint import check_same, checkpoints, deciding, load_checkpoint, save_checkpoint, write_whole
from tests.train.train_feed import small_config


def state(step: int) -> dict[str, object]:
    return {"step": step, "values": torch.full((1000,), float(step)), "nested": [{"a": (1, None, "b")}]}


def unheard(_text: str) -> None:
    raise AssertionError(_text)


def unread(_text: str) -> None:
    pass


def test_the_newest_of_those_kept_is_read(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, unheard) is None
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, state(step), keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000000015.pt", "step-000000010.pt"]
    found = load_checkpoint(tmp_path, unheard)
    assert found is not None
    assert found["step"] == 15
    assert torch.equal(found["values"], torch.full((1000,), 15.0))
    assert found["nested"] == [{"a": (1, None, "b")}]


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "text", "other"])
def test_a_damaged_one_is_named_and_passed_over(tmp_path: Path, damage: str) -> None:
    save_checkpoint(tmp_path, state(5), keep=2)
    newest = save_checkpoint(tmp_path, state(10), keep=2)
    data = bytearray(newest.read_bytes())
    if damage == "bit":
        data[len(data) // 2] ^= 1
    if damage == "other":
        torch.save({"something": 1}, newest)
    else:
        newest.write_bytes(bytes({"cut": data[:-100], "bit": data, "empty": b"", "text": b"<html>"}[damage]))
    words: list[str] = []
    found = load_checkpoint(tmp_path, words.append)
    assert found is not None
    assert found["step"] == 5
    assert words == ["step-000000010.pt is damaged and passed over"]


def test_all_damaged_is_an_error(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state(5), keep=2).write_bytes(b"PK")
    with pytest.raises(WeightsError, match=r"no checkpoint of this run can be read, 1 tried.*--fresh"):
        load_checkpoint(tmp_path, unread)


def test_a_pickle_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "state").mkdir()
    torch.save({"step": 1, "bad": Hostile()}, tmp_path / "state" / "step-000000001.pt")
    with pytest.raises(WeightsError):
        load_checkpoint(tmp_path, unread)
    assert not (tmp_path / "ran").exists()


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    target = tmp_path / "a" / "file"
    write_whole(target, lambda path: path.write_bytes(b"whole"))
    with pytest.raises(SinkError, match="No space left"):
        write_whole(target, fails)
    assert target.read_bytes() == b"whole"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_another_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    saved = deciding(small_config(), 1)
    check_same(saved, small_config(run={"log_every": 7, "threads": 1}, validation={"every": 3}), 1, tmp_path)
    with pytest.raises(ConfigError, match=r"optim\.lr was 0\.001, is 0\.002.*--resume.*--fresh"):
        check_same(saved, small_config(optim={"lr": 2e-3}), 1, tmp_path)
    with pytest.raises(ConfigError, match="processes was 1, is 2"):
        check_same(saved, small_config(), 2, tmp_path)


@pytest.mark.parametrize(
    ("section", "keys", "words"),
    [
        ("data", {"pictures": []}, "nothing to learn from"),
        ("data", {"crop": 33}, "not a multiple of model.scale"),
        ("data", {"patch": 17}, "larger than the small picture"),
        ("data", {"crop": 36, "patch": 0}, "multiple of 8 pixels, not 36"),
        ("model", {"family": "rrdb", "init": "bilinear"}, "needs model.family"),
        ("loss", {"l1": 0, "gan": 0}, "all weights in .loss. are zero"),
    ],
)
def test_what_cannot_be_meant_is_refused(section: str, keys: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small_config(**{"loss": {"gan": 0.1}} | {section: keys})
