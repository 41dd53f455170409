"""The program as a process: signals, a kill, a full disk, many files. Nothing is left but what was finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.upscale import upscale_file
from tests.media import AudioTrack, make_clip
from tests.pipelines.jobs import Ears, decode_errors, job, leftovers, numbers_of

ROOT = Path(__file__).parents[2]
FRAMES = 2000
END_S = 40.0
"""The longest a process may take to end; on a busy machine, the import of torch included."""


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return make_clip(path, frames=FRAMES, size=(160, 120), gop=250, audio=(AudioTrack(),), options={"crf": "30"})


class Program:
    """A running `run_stream.py upscale`, and the events it prints."""

    def __init__(self, model: Path, source: Path, target: Path, *extra: str) -> None:
        words = ["upscale", str(source), str(target), "--model", str(model), "--scale", "2", "--device", "cpu"]
        words += ["--preset", "ultrafast", "--batch", "1", "--progress", "json", *extra]
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "run_stream.py"), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=target.parent,
        )

    def wait_for_frames(self) -> None:
        """Until the first pictures are in the file."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "progress" and event["frames"] > 0:
                return
        raise AssertionError(self.process.communicate(timeout=END_S))

    def encoder(self) -> psutil.Process:
        (found,) = psutil.Process(self.process.pid).children()
        return found

    def end(self) -> tuple[int, list[dict[str, Any]], str]:
        """(exit code, the events that were not read yet, stderr)."""
        out, errors = self.process.communicate(timeout=END_S)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], errors


@pytest.fixture
def start(tmp_path: Path, tiny_model: Path, long_clip: Path) -> Iterator[Callable[..., Program]]:
    running: list[Program] = []

    def call(*extra: str) -> Program:
        running.append(Program(tiny_model, long_clip, tmp_path / "out.mp4", *extra))
        return running[-1]

    yield call
    for program in running:
        if program.process.poll() is None:
            program.process.kill()
        program.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_leaves_a_playable_file(
    tmp_path: Path, start: Callable[..., Program], number: signal.Signals
) -> None:
    program = start("--report", str(tmp_path / "report.json"))
    program.wait_for_frames()
    program.process.send_signal(number)
    code, events, errors = program.end()
    assert (code, errors) == (0, "")
    target = tmp_path / "out.mp4"
    numbers = numbers_of(target)
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < FRAMES
    assert decode_errors(target) == ""
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["timing"]["stopped_early"]
    assert report["output"]["frames"] == len(numbers)
    assert events[-1]["event"] == "done"
    assert leftovers(tmp_path) == []


def test_two_signals_stop_at_once(tmp_path: Path, start: Callable[..., Program]) -> None:
    program = start()
    program.wait_for_frames()
    program.encoder().suspend()  # else the job might be finished before the second signal
    program.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    program.process.send_signal(signal.SIGINT)
    code, events, errors = program.end()
    assert code == 130
    assert len(errors.splitlines()) == 1
    assert "Nothing was written" in errors
    assert events[-1]["event"] == "error"
    assert list(tmp_path.iterdir()) == []


def test_a_killed_program_leaves_nothing_that_lasts(
    tmp_path: Path, start: Callable[..., Program], tiny_model: Path, long_clip: Path
) -> None:
    shared = set(os.listdir("/dev/shm"))
    program = start()
    program.wait_for_frames()
    encoder = program.encoder()
    program.process.kill()
    program.process.wait(END_S)
    encoder_is_gone(encoder)
    assert set(os.listdir("/dev/shm")) - shared == set()
    target = tmp_path / "out.mp4"
    assert not target.exists()
    assert len(leftovers(tmp_path)) == 1, "nobody was left to remove it"

    upscale_file(job(tiny_model, source__duration_s=0.2, encode__preset="ultrafast"), long_clip, target, Ears())
    assert list(tmp_path.iterdir()) == [target], "the next job for this target tidied up"


def encoder_is_gone(process: psutil.Process) -> None:
    deadline = time.monotonic() + END_S
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the encoder outlives its parent"
        time.sleep(0.05)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=20)
    except FileNotFoundError:
        pytest.skip("needs mount")
    if done.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=20)


def test_the_disk_fills_up(small_disk: Path, tiny_model: Path, long_clip: Path) -> None:
    program = Program(tiny_model, long_clip, small_disk / "out.mp4")
    code, _, errors = program.end()
    assert code == 4
    assert len(errors.splitlines()) == 1
    assert "no space left on the device" in errors.lower()
    assert list(small_disk.iterdir()) == []


def test_of_several_files_one_is_bad(tmp_path: Path, tiny_model: Path) -> None:
    season, done = tmp_path / "season", tmp_path / "done"
    season.mkdir()
    done.mkdir()
    for name in ("a.mp4", "c.mp4", "d.mp4"):
        make_clip(season / name, frames=3)
    (season / "b.mp4").write_bytes(b"no video")
    (done / "c.mp4").write_bytes(b"finished long ago")
    program = Program(tiny_model, season, done, "--report", str(tmp_path / "report.json"))
    code, events, errors = program.end()
    assert code == 7
    assert [event["file"] for event in events if event["event"] == "error"] == [str(season / "b.mp4")]
    assert len(errors.splitlines()) == 1
    assert sorted(path.name for path in done.iterdir()) == ["a.mp4", "c.mp4", "d.mp4"]
    assert (done / "c.mp4").read_bytes() == b"finished long ago"
    assert numbers_of(done / "a.mp4") == numbers_of(done / "d.mp4") == [0, 1, 2]
    assert any("finished already" in event.get("text", "") for event in events)
    assert events[-1]["text"] == "2 upscaled, 1 skipped, 1 failed of 4 files"
    assert len(json.loads((tmp_path / "report.json").read_text())) == 2


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path: Path, tiny_model: Path, long_clip: Path) -> None:
    """Both measured in a process of their own: a test process has long had its peak."""
    peaks = []
    for seconds in (3, 30):
        program = Program(
            tiny_model,
            long_clip,
            tmp_path / f"{seconds}.mp4",
            *("--duration", str(seconds), "--report", str(tmp_path / f"{seconds}.json")),
        )
        code, _, errors = program.end()
        assert (code, errors) == (0, "")
        report = json.loads((tmp_path / f"{seconds}.json").read_text())
        assert report["output"]["frames"] == 24 * seconds
        peaks.append(report["speed"]["peak_memory_bytes"])
    assert peaks[1] < 1.15 * peaks[0], peaks
