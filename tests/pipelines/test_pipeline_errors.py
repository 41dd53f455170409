"""Bad input: one line that says what, where and what to do, an exit code of its own, the disk unchanged."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import pipelines.upscale  # noqa: F401 - another user could not import what is below root's home
import run_stream
from tests.media import AudioTrack, make_clip
from tests.media_tracks import write_audio

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mistake:
    """Words after `upscale` ({d} is the folder), and what must be in the one line on stderr."""

    words: str
    code: int
    says: tuple[str, ...]


MISTAKES = {
    "no arguments": Mistake("", 2, ("INPUT and OUTPUT missing",)),
    "no output": Mistake("{d}/clip.mp4", 2, ("OUTPUT missing",)),
    "missing file": Mistake("{d}/clap.mp4 {d}/out.mp4", 3, ("no such file", "Did you mean {d}/clip.mp4")),
    "missing folder": Mistake("{d}/none/a.mp4 {d}/out.mp4", 3, ("no such file", "does not exist")),
    "folder without video": Mistake("{d}/empty {d}/out", 3, ("no video in this folder", "{d}/empty")),
    "text, not video": Mistake("{d}/notes.mp4 {d}/out.mp4", 3, ("not a media file", "{d}/notes.mp4")),
    "empty file": Mistake("{d}/zero.mp4 {d}/out.mp4", 3, ("the file is empty", "{d}/zero.mp4")),
    "only sound": Mistake("{d}/sound.mka {d}/out.mkv", 3, ("no video track", "{d}/sound.mka")),
    "cut off": Mistake("{d}/cut.mp4 {d}/out.mp4", 3, ("{d}/cut.mp4",)),
    "header only": Mistake("{d}/header.mkv {d}/out.mp4", 3, ("no picture could be decoded", "{d}/header.mkv")),
    "target exists": Mistake("{d}/clip.mp4 {d}/there.mp4", 4, ("the target exists", "--overwrite")),
    "target is a folder": Mistake("{d}/clip.mp4 {d}/folder", 4, ("is a folder", "{d}/folder/clip.mp4")),
    "target is the input": Mistake("{d}/clip.mp4 {d}/clip.mp4 --overwrite", 2, ("would replace an input",)),
    "target is a link to the input": Mistake("{d}/clip.mp4 {d}/link.mp4 --overwrite", 2, ("would replace an input",)),
    "target of no type": Mistake("{d}/clip.mp4 {d}/out", 2, ("no file type", "out.mp4")),
    "target of unknown type": Mistake("{d}/clip.mp4 {d}/out.xyz", 2, (".xyz",)),
    "target below a file": Mistake("{d}/clip.mp4 {d}/notes.mp4/out.mp4", 4, ("{d}/notes.mp4",)),
    "unknown model": Mistake("{d}/clip.mp4 {d}/out.mp4 --model animevideo3", 5, ("animevideo3", "Did you mean")),
    "missing model file": Mistake("{d}/clip.mp4 {d}/out.mp4 --model {d}/none.pth", 5, ("{d}/none.pth",)),
    "corrupt model": Mistake("{d}/clip.mp4 {d}/out.mp4 --model {d}/noise.pth", 5, ("{d}/noise.pth",)),
    "cut model": Mistake("{d}/clip.mp4 {d}/out.mp4 --model {d}/cut.safetensors", 5, ("{d}/cut.safetensors",)),
    "hostile model": Mistake("{d}/clip.mp4 {d}/out.mp4 --model {d}/hostile.pth", 5, ("{d}/hostile.pth",)),
    "too large": Mistake("{d}/wide.mp4 {d}/out.mp4 --scale 16", 2, ("16384 is the limit",)),
    "too large a box": Mistake("{d}/clip.mp4 {d}/out.mp4 --to 20000x20000", 2, ("16384 is the limit",)),
    "scale and box": Mistake("{d}/clip.mp4 {d}/out.mp4 --scale 2 --to 4k", 2, ("exclude each other",)),
    "scale of zero": Mistake("{d}/clip.mp4 {d}/out.mp4 --scale 0", 2, ("--scale",)),
    "scale of words": Mistake("{d}/clip.mp4 {d}/out.mp4 --scale big", 2, ("--scale", "big")),
    "odd box": Mistake("{d}/clip.mp4 {d}/out.mp4 --to 4x", 2, ("--to", "4x")),
    "unknown codec": Mistake("{d}/clip.mp4 {d}/out.mp4 --codec h265", 2, ("--codec", "h265")),
    "codec not for WebM": Mistake("{d}/clip.mp4 {d}/out.webm --codec h264", 2, ("webm", "h264")),
    "unknown encoder": Mistake("{d}/clip.mp4 {d}/out.mp4 --encoder libx266", 2, ("libx266",)),
    "unknown preset": Mistake("{d}/clip.mp4 {d}/out.mp4 --preset warp", 2, ("warp",)),
    "unknown pixel format": Mistake("{d}/clip.mp4 {d}/out.mp4 --pix-fmt yuv999p", 2, ("yuv999p",)),
    "quality above 100": Mistake("{d}/clip.mp4 {d}/out.mp4 --quality 101", 2, ("--quality", "101")),
    "a start of words": Mistake("{d}/clip.mp4 {d}/out.mp4 --start soon", 2, ("--start", "soon")),
    "a start beyond the end": Mistake("{d}/clip.mp4 {d}/out.mp4 --start 100", 3, ("no picture at or after 100 s",)),
    "a range beyond the end": Mistake("{d}/clip.mp4 {d}/out.mp4 --start 100 --duration 1", 3, ("no picture", "100 s")),
    "a duration of zero": Mistake("{d}/clip.mp4 {d}/out.mp4 --duration 0", 2, ("duration",)),
    "unknown option": Mistake("{d}/clip.mp4 {d}/out.mp4 --scal 2", 2, ("--scal", "Did you mean", "--scale")),
    "unknown key": Mistake("{d}/clip.mp4 {d}/out.mp4 --set upscale.bach=2", 2, ("Did you mean upscale.batch",)),
    "key without value": Mistake("{d}/clip.mp4 {d}/out.mp4 --set upscale.batch", 2, ("has no '='",)),
    "missing config": Mistake("{d}/clip.mp4 {d}/out.mp4 --config {d}/none.toml", 2, ("{d}/none.toml",)),
    "broken config": Mistake("{d}/clip.mp4 {d}/out.mp4 --config {d}/broken.toml", 2, ("not valid TOML",)),
    "unknown device": Mistake("{d}/clip.mp4 {d}/out.mp4 --device tpu", 2, ("tpu",)),
    "a GPU that is not there": Mistake("{d}/clip.mp4 {d}/out.mp4 --device cuda:63", 2, ("cuda",)),
    "report of no type": Mistake("{d}/clip.mp4 {d}/out.mp4 --report {d}/report", 2, (".json",)),
    "report into nowhere": Mistake("{d}/clip.mp4 {d}/out.mp4 --report {d}/none/report.json", 2, ("no such folder",)),
    "several into one": Mistake("{d}/clip.mp4 {d}/wide.mp4 {d}/out.mp4", 2, ("several inputs",)),
}  # fmt: skip


class Bomb:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:
    import av

    whole = make_clip(tmp_path / "clip.mp4", frames=3).read_bytes()
    make_clip(tmp_path / "wide.mp4", frames=1, size=(1100, 16))
    (tmp_path / "there.mp4").write_bytes(b"precious")
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "header.mkv").write_bytes(make_clip(tmp_path / "x.mkv", frames=3).read_bytes()[:560])
    (tmp_path / "x.mkv").unlink()
    (tmp_path / "zero.mp4").touch()
    (tmp_path / "notes.mp4").write_text("these are notes\n" * 100)
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder" / "clip.mp4").mkdir(parents=True)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "clip.mp4")
    (tmp_path / "noise.pth").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "cut.safetensors").write_bytes(tiny_model.read_bytes()[:-50])
    (tmp_path / "hostile.pth").write_bytes(pickle.dumps({"params": Bomb(tmp_path / "exploded")}))
    (tmp_path / "broken.toml").write_text("[upscale\n")
    with av.open(str(tmp_path / "sound.mka"), "w", format="matroska") as output:
        for packet in write_audio(output, AudioTrack(), 0.5):
            output.mux(packet)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_line(folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    mistake = MISTAKES[name]
    words = mistake.words.format(d=folder).split()
    if "--model" not in words:
        words += ["--model", str(tiny_model)]
    if "--scale" not in words and "--to" not in words and "--scal" not in words:
        words += ["--scale", "1"]
    before = contents(folder)
    code = run_stream.main(["upscale", *words, "--progress", "none"])
    output = capsys.readouterr()
    assert len(output.err.splitlines()) == 1, output.err
    assert output.err.startswith("error: ")
    assert "internal error" not in output.err
    assert "Traceback" not in output.err
    for word in mistake.says:
        assert word.format(d=folder) in output.err
    assert (code, output.out) == (mistake.code, "")
    assert contents(folder) == before


@pytest.fixture
def open_folder(tiny_model: Path) -> Iterator[Path]:
    """A folder with a clip and the tiny model that other users can enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_clip(folder / "clip.mp4", frames=3)
        (folder / "tiny.safetensors").write_bytes(tiny_model.read_bytes())
        for path in folder.iterdir():
            path.chmod(0o644)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read and write everything: for the block this process is another user."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(("closed", "code"), [("clip.mp4", 3), (".", 4), ("tiny.safetensors", 5)])
def test_what_may_not_be_read_or_written(
    open_folder: Path, capsys: pytest.CaptureFixture[str], closed: str, code: int
) -> None:
    (open_folder / closed).chmod(0o555 if closed == "." else 0)
    model = str(open_folder / "tiny.safetensors")
    words = ["upscale", str(open_folder / "clip.mp4"), str(open_folder / "out.mp4"), "--model", model]
    with as_nobody():
        found = run_stream.main([*words, "--scale", "1", "--progress", "none"])
    text = capsys.readouterr().err
    assert (found, len(text.splitlines())) == (code, 1), text
    assert "ermission denied" in text
    assert sorted(path.name for path in open_folder.iterdir()) == ["clip.mp4", "tiny.safetensors"]


def test_a_real_process_says_it_the_same_way(folder: Path) -> None:
    words = [str(folder / "clap.mp4"), str(folder / "out.mp4")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_stream.py"), "upscale", *words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"error: no such file or folder ({folder}/clap.mp4). Did you mean {folder}/clip.mp4?"
    ]
