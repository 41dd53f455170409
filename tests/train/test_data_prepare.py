"""Preparing a folder: which sizes and parts, that nothing half-written stays, and that a stopped run goes on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from pipelines.prepare import prepare_folder
from pipelines.verb_prepare import prepare as prepare_verb
from streamsr.errors import ConfigError, SourceError
from streamsr.train.prepare import Preparation, cuts_of, prepare, sizes_of
from tests.train.data_pictures import smooth, some_pictures, write


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.name.startswith("."))


def test_scales_are_upstreams() -> None:
    # generate_multiscale_DF2K.py of a DIV2K picture: three scales, and a shortest edge of 400.
    found = sizes_of(1404, 2040, Preparation())
    assert found == {
        "": (1404, 2040),
        "_s075": (1053, 1530),
        "_s050": (702, 1020),
        "_s033": (468, 680),
        "_e400": (400, 581),
    }
    assert sizes_of(2040, 1404, Preparation(scales=(1.0,))) == {"": (2040, 1404), "_e400": (581, 400)}
    assert sizes_of(500, 900, Preparation()) == {"": (500, 900), "_e400": (400, 720)}, "none below the edge"
    assert sizes_of(300, 900, Preparation()) == {"": (300, 900)}


def test_parts_reach_the_border() -> None:
    assert cuts_of(480, Preparation(part=480)) == [0]
    assert cuts_of(1000, Preparation(part=480, step=240)) == [0, 240, 480, 520]
    assert cuts_of(1000, Preparation(part=480, step=240, rest=40)) == [0, 240, 480]
    assert cuts_of(400, Preparation(part=480)) == []


def test_files_are_what_they_say(tmp_path: Path) -> None:
    picture = smooth(120, 160, 1)
    write(tmp_path / "in" / "deep" / "one.png", picture)
    how = Preparation(scales=(1.0, 0.5), shortest_edge=0, part=80, step=80)
    prepare_folder(tmp_path / "in", tmp_path / "out", how, lambda _line: None)
    parts = [f"deep/one_p{number:03d}.png" for number in range(1, 5)]
    assert names(tmp_path / "out") == ["deep", *parts], "the half size is smaller than a part"
    read = cv2.imread(str(tmp_path / "out" / parts[3]))
    assert read is not None
    assert np.array_equal(read[..., ::-1], picture[40:, 80:])


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    some_pictures(tmp_path / "in", 3)
    how = Preparation(scales=(1.0, 0.5), shortest_edge=0)
    one = prepare(tmp_path / "in", tmp_path / "out", how)
    assert next(one).files == 2
    del one
    assert not [name for name in names(tmp_path / "out") if name.endswith(".new")]
    assert [done.files for done in prepare(tmp_path / "in", tmp_path / "out", how)] == [0, 2, 2]
    write(tmp_path / "in" / "picture-1.png", smooth(50, 50, 9))
    assert [done.files for done in prepare(tmp_path / "in", tmp_path / "out", how)] == [0, 2, 0]
    with pytest.raises(ConfigError, match="other settings"):
        list(prepare(tmp_path / "in", tmp_path / "out", Preparation()))


def test_damaged_pictures_are_named(tmp_path: Path) -> None:
    some_pictures(tmp_path / "in", 1)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"this is no picture")
    told: list[str] = []
    assert prepare_folder(tmp_path / "in", tmp_path / "out", Preparation(), told.append) == 1
    assert told[0].startswith("skipped bad.jpg: ")
    assert told[-1].startswith("1 pictures ready")
    (tmp_path / "in" / "picture-0.png").unlink()
    with pytest.raises(SourceError, match="no picture could be read"):
        prepare_folder(tmp_path / "in", tmp_path / "other", Preparation(), told.append)


def test_mistakes_are_config_errors(tmp_path: Path) -> None:
    some_pictures(tmp_path / "in", 1)
    write(tmp_path / "in" / "picture-0.jpg", smooth(50, 50, 1))
    for source, target in (("nowhere", "out"), ("in", "in/out"), ("in", "out")):
        with pytest.raises(ConfigError):
            list(prepare(tmp_path / source, tmp_path / target, Preparation()))
    for wrong in ({"scales": (2.0,)}, {"scales": ()}, {"step": 5}, {"part": -1}):
        with pytest.raises(ConfigError):
            Preparation(**wrong)


def test_the_verb(tmp_path: Path) -> None:
    some_pictures(tmp_path / "in", 1, height=900, width=1000)
    words = [str(tmp_path / "in"), str(tmp_path / "out"), "--scales", "1,0.5"]
    done = CliRunner().invoke(prepare_verb, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert names(tmp_path / "out") == ["picture-0.png", "picture-0_e400.png", "picture-0_s050.png"]
    assert CliRunner().invoke(prepare_verb, [*words[:2], "--scales", "a"]).exit_code == 2
