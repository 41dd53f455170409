"""`chunked` as a process with workers: signals, lost workers, a full disk; and what is finished is never done again."""

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
from tests.pipelines.chunk_jobs import check_alike, chunk_job
from tests.pipelines.jobs import Ears

ROOT = Path(__file__).parents[2]
FRAMES = 720
END_S = 60.0
"""The longest a process may take to end; on a busy machine, the import of torch by three processes included."""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    audio = (AudioTrack(),)
    return make_clip(path, frames=FRAMES, size=(96, 80), gop=60, b_frames=2, audio=audio, options={"crf": "30"})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, long_clip: Path) -> Path:
    """The clip in one piece."""
    path = tmp_path_factory.mktemp("whole") / "whole.mkv"
    upscale_file(chunk_job(tiny_model), long_clip, path, Ears())
    return path


class Program:
    """A running `run_stream.py chunked` with two workers, and the events it prints."""

    def __init__(self, model: Path, source: Path, target: Path, *extra: str) -> None:
        words = ["chunked", str(source), str(target), "--model", str(model), "--scale", "1", "--device", "cpu"]
        words += ["--codec", "ffv1", "--batch", "1", "--chunk", "2.5s", "--workers-per-gpu", "2", "--progress", "json"]
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "run_stream.py"), *words, "--precision", "fp32", *extra],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=target.parent,
        )

    def wait_for_chunks(self, number: int) -> None:
        """Until so many are finished."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "workers" and event["chunks_done"] >= number:
                return
        raise AssertionError(self.process.communicate(timeout=END_S))

    def workers(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.process.pid).children()
        return found

    def end(self) -> tuple[int, list[dict[str, Any]], str]:
        """(exit code, the events that were not read yet, stderr)."""
        out, errors = self.process.communicate(timeout=END_S)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], errors


@pytest.fixture
def start(tmp_path: Path, tiny_model: Path, long_clip: Path, whole: Path) -> Iterator[Callable[..., Program]]:
    (tmp_path / "whole.mkv").symlink_to(whole)
    running: list[Program] = []

    def call(*extra: str) -> Program:
        running.append(Program(tiny_model, long_clip, tmp_path / "chunked.mkv", *extra))
        return running[-1]

    yield call
    for program in running:
        if program.process.poll() is None:
            program.process.kill()
        program.process.communicate()


def check_finished(folder: Path, program: Program) -> dict[str, Any]:
    """It ended well, and the file is that in one piece. The report of the job."""
    code, events, errors = program.end()
    assert (code, errors) == (0, "")
    check_alike(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["chunked.mkv", "whole.mkv"]
    assert events[-1]["event"] == "done"
    facts: dict[str, Any] = events[-1]["facts"]
    return facts


def test_one_signal_finishes_what_is_under_way(tmp_path: Path, start: Callable[..., Program]) -> None:
    program = start()
    program.wait_for_chunks(1)
    program.process.send_signal(signal.SIGINT)
    code, events, errors = program.end()
    (line,) = errors.splitlines()
    assert code == 130
    assert "of 12 chunks are finished" in line
    assert "Run the same command again to go on" in line
    assert any("chunks under way are finished" in event.get("text", "") for event in events)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".chunked.mkv.chunks", "whole.mkv"]
    parts = len(list((tmp_path / ".chunked.mkv.chunks").glob("*.part")))
    assert 1 <= parts < 12

    facts = check_finished(tmp_path, start())["chunks"]
    assert (facts["planned"], facts["from_earlier_runs"]) == (12, parts)
    assert sum(worker["chunks"] for worker in facts["workers"].values()) == 12 - parts


def test_two_signals_stop_at_once(tmp_path: Path, start: Callable[..., Program]) -> None:
    program = start()
    program.wait_for_chunks(1)
    for worker in program.workers():
        worker.suspend()  # else the chunks under way might be finished before the second signal
    program.process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    program.process.send_signal(signal.SIGINT)
    code, _, errors = program.end()
    assert code == 130
    assert len(errors.splitlines()) == 1
    assert "of 12 chunks are finished" in errors
    assert (tmp_path / ".chunked.mkv.chunks").is_dir()
    assert not (tmp_path / "chunked.mkv").exists()


def test_a_killed_worker_costs_its_chunk_only(tmp_path: Path, start: Callable[..., Program]) -> None:
    program = start()
    program.wait_for_chunks(1)
    program.workers()[0].kill()
    facts = check_finished(tmp_path, program)["chunks"]
    assert facts["retries"] <= 1, "none where it had just finished"
    assert len(facts["each"]) == 12


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=20)
    except FileNotFoundError:
        pytest.skip("needs mount")
    if done.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=20)


def test_a_full_disk_keeps_what_is_finished(tmp_path: Path, small_disk: Path, start: Callable[..., Program]) -> None:
    work_dir = ("--work-dir", str(small_disk / "work"))
    code, events, errors = start(*work_dir).end()
    assert code == 4
    assert "no space left on the device" in errors.lower()
    assert any("run the same command again to go on" in event.get("text", "") for event in events)
    parts = len(list((small_disk / "work").glob("*.part")))
    assert parts >= 1
    assert not (tmp_path / "chunked.mkv").exists()

    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True, timeout=20)
    program = start(*work_dir)
    code, events, errors = program.end()
    assert (code, errors) == (0, "")
    check_alike(tmp_path)
    assert events[-1]["facts"]["chunks"]["from_earlier_runs"] == parts
    assert os.listdir(small_disk) == []
