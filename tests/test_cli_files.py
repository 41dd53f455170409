"""Which inputs become which outputs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.files import VIDEO_SUFFIXES, check_target, plan_files
from pipelines.reports import ReportFile
from streamsr.errors import ConfigError, SinkError, SourceError
from streamsr.report import Report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "season"
    (source / "extras").mkdir(parents=True)
    for name in ("b.avi", "a.mp4", "C.MKV", "notes.txt", ".hidden.mp4", "extras/d.mp4"):
        (source / name).write_bytes(b"x")
    return source


def test_one_file_becomes_the_named_file(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.webm"
    assert plan_files((str(folder / "b.avi"),), str(target)) == [(folder / "b.avi", target)]


def test_one_file_into_a_folder_keeps_its_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert plan_files((str(folder / "a.mp4"),), str(tmp_path / "out")) == [(folder / "a.mp4", tmp_path / "out/a.mp4")]
    new = f"{tmp_path}/new/"
    assert plan_files((str(folder / "b.avi"),), new) == [(folder / "b.avi", tmp_path / "new" / "b.mkv")]
    assert not (tmp_path / "new").exists(), "planning creates nothing"


def test_a_folder_gives_its_videos_in_order(folder: Path, tmp_path: Path) -> None:
    pairs = plan_files((str(folder),), str(tmp_path / "out"))
    assert [source.name for source, _ in pairs] == ["C.MKV", "a.mp4", "b.avi"]
    assert [target.name for _, target in pairs] == ["C.MKV", "a.mp4", "b.mkv"]
    assert {target.parent for _, target in pairs} == {tmp_path / "out"}


def test_several_inputs_keep_the_order_they_were_given_in(folder: Path, tmp_path: Path) -> None:
    inputs = (str(folder / "b.avi"), str(folder / "extras"), str(folder / "notes.txt"))
    names = [target.name for _, target in plan_files(inputs, str(tmp_path / "out"))]
    assert names == ["b.mkv", "d.mp4", "notes.mkv"], "a file named by the user is tried whatever its name"


@pytest.mark.parametrize("output", ["out.mp4", "notes.txt"])
def test_several_inputs_cannot_become_one_file(folder: Path, output: str) -> None:
    with pytest.raises(ConfigError, match="several inputs"):
        plan_files((str(folder / "a.mp4"), str(folder / "b.avi")), str(folder / output))


def test_a_target_needs_a_type(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file type .* Write .*/new\.mp4, or .*/new/ for a folder"):
        plan_files((str(folder / "a.mp4"),), str(tmp_path / "new"))


def test_missing_inputs_are_named_with_the_nearest(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"no such file or folder .*season/a\.mp5.* Did you mean .*a\.mp4\?"):
        plan_files((str(folder / "a.mp5"),), "out.mp4")
    with pytest.raises(SourceError, match=r"The folder .*nowhere does not exist"):
        plan_files((str(folder / "nowhere" / "a.mp4"),), "out.mp4")


def test_a_folder_without_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(SourceError, match="no video in this folder"):
        plan_files((str(tmp_path),), str(tmp_path / "out"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_folder_is_an_error(folder: Path, tmp_path: Path) -> None:
    folder.chmod(0)
    try:
        with pytest.raises(SourceError, match="cannot read"):
            plan_files((str(folder),), str(tmp_path / "out"))
    finally:
        folder.chmod(0o700)


def test_an_input_is_never_replaced(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.mp4"
    link.symlink_to(folder / "a.mp4")
    for inputs, output in ((("a.mp4",), folder / "a.mp4"), (("a.mp4",), link), ((".",), folder)):
        with pytest.raises(ConfigError, match="would replace an input"):
            plan_files(tuple(str(folder / name) for name in inputs), str(output))


def test_two_inputs_never_share_a_target(folder: Path, tmp_path: Path) -> None:
    (folder / "b.mkv").touch()
    with pytest.raises(ConfigError, match=r"b\.avi and .*b\.mkv would become the same file"):
        plan_files((str(folder),), str(tmp_path / "out"))


@given(
    st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.sampled_from(sorted(VIDEO_SUFFIXES))), unique=True)
)
def test_every_plan_is_one_to_one_or_refused(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str]]
) -> None:
    base = tmp_path_factory.mktemp("plan")
    for stem, suffix in names:
        (base / f"{stem}{suffix}").touch()
    try:
        pairs = plan_files((str(base),), str(base / "out"))
    except SourceError:
        assert not names
        return
    except ConfigError:
        stems = [stem for stem, _ in names]
        assert len(set(stems)) < len(stems)
        return
    assert len(pairs) == len(names) == len({target for _, target in pairs})


def test_an_existing_target_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    check_target(target, overwrite=False)
    target.touch()
    check_target(target, overwrite=True)
    with pytest.raises(SinkError, match="--overwrite"):
        check_target(target, overwrite=False)
    with pytest.raises(SinkError, match="is a folder"):
        check_target(tmp_path, overwrite=True)


def test_reports_are_an_object_or_a_list(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    first, second = (Report("a", "b", 1, 1, 1.0, "fine", {"number": number, "path": Path("x")}) for number in (1, 2))
    ReportFile(None, is_list=False).add(first)
    single = ReportFile(str(file), is_list=False)
    assert not file.exists()
    single.add(first)
    assert json.loads(file.read_text()) == {"number": 1, "path": "x"}
    several = ReportFile(str(file), is_list=True)
    several.add(first)
    several.add(second)
    assert [facts["number"] for facts in json.loads(file.read_text())] == [1, 2]
    assert list(tmp_path.iterdir()) == [file]


def test_a_report_never_replaces_a_film(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a report is a \.json file"):
        ReportFile(str(tmp_path / "film.mp4"), is_list=False)
    with pytest.raises(ConfigError, match="no such folder"):
        ReportFile(str(tmp_path / "nowhere" / "r.json"), is_list=False)
    (tmp_path / "r.json").mkdir()
    with pytest.raises(SinkError, match="cannot write the report"):
        ReportFile(str(tmp_path / "r.json"), is_list=False).add(Report("a", "b", 1, 1, 1.0, "fine", {}))
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
