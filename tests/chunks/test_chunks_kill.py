"""A job that is killed, anywhere and at any moment, and taken up again by the same command: the film is the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from streamsr.chunks.journal import read_journal
from streamsr.chunks.lock import FolderLock
from tests.media import AudioTrack, make_clip
from tests.pipelines.chunk_jobs import others_of, pictures_of
from tests.pipelines.jobs import write_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 150.0
CHUNKS = 8
NAME = "out.mkv"
KINDS: tuple[Literal[1, 2], ...] = (1, 2)
"""Places of workers and encoders in a Job's family."""


@dataclass
class Job:
    """One run of the command, as its own words show it. `events`: what it wrote so far."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)

    def read(self) -> Iterator[dict[str, Any]]:
        """Events as they come, to the end of the run."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not line.startswith("{"):
                continue  # the tables of --plan-only
            self.events.append(json.loads(line))
            yield self.events[-1]

    def until(self, kind: str, **values: Any) -> dict[str, Any]:
        """The next event of this kind with these values."""
        for event in self.read():
            if event["event"] == kind and values.items() <= event.items():
                return event
        raise AssertionError(f"no event {kind} {values}: {self.events}")

    def finish(self) -> int:
        """The exit code."""
        list(self.read())
        return self.process.wait(PATIENCE_S)

    def some(self, kind: Literal[1, 2]) -> psutil.Process:
        """One of the workers (1) or of the encoders (2), as soon as there is one."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := self.family()[kind]):
            assert time.monotonic() < deadline, "no such process"
            time.sleep(0.01)
        return found[0]

    def notices(self) -> list[str]:
        return [event["text"] for event in self.events if event["event"] == "notice"]

    def family(self) -> tuple[psutil.Process, list[psutil.Process], list[psutil.Process]]:
        """The main process, its workers, and their encoders."""
        main = psutil.Process(self.process.pid)
        workers = main.children()
        return main, workers, [encoder for worker in workers for encoder in _children(worker)]


@dataclass
class Studio:
    """A film, a model, and the command."""

    folder: Path
    source: Path
    model: Path

    @property
    def work_dir(self) -> Path:
        return self.folder / f".{NAME}.chunks"

    @contextmanager
    def run(self, *more: str, target: str = NAME) -> Iterator[Job]:
        """Starts the command. At the end of the block it is over, and no process of it is left."""
        options = "--scale 1 --device cpu --precision fp32 --codec ffv1 --chunk 0.5 --workers-per-gpu 2 --progress json"
        command = [sys.executable, str(ROOT / "run_stream.py"), "chunked", "--model", str(self.model), *options.split()]
        command += [*more, str(self.source), str(self.folder / target)]
        family: list[psutil.Process] = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                yield (job := Job(process))
                family = [] if process.poll() is not None else psutil.Process(process.pid).children(recursive=True)
                job.finish()
            finally:
                process.kill()
        _, alive = psutil.wait_procs(family, timeout=20)
        assert not alive, "workers and encoders end with the main process"

    def done(self) -> list[int]:
        """Chunks that the journal has as finished."""
        return [record["chunk"] for record in read_journal(self.work_dir / "journal.jsonl") if record["kind"] == "done"]

    def wait_for_done(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while len(self.done()) < count:
            assert time.monotonic() < deadline, "no chunk is finished"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """The attachment is large, so that joining takes long enough to be killed in."""
    folder = tmp_path_factory.mktemp("studio")
    source = make_clip(
        folder / "in.mkv",
        frames=12 * CHUNKS,
        size=(160, 120),
        gop=12,
        b_frames=2,
        audio=(AudioTrack(),),
        attachments=(("font.ttf", "font/ttf", bytes(24 << 20)),),
    )
    studio = Studio(folder, source, write_tiny_model(folder / "tiny.safetensors"))
    with studio.run(target="whole.mkv") as job:
        assert job.finish() == 0
    return studio


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children()
        return found
    except psutil.NoSuchProcess:
        return []


def kill(*processes: psutil.Process) -> None:
    for process in processes:
        process.send_signal(signal.SIGSTOP)  # none sees another one die
    for process in processes:
        process.send_signal(signal.SIGKILL)


def check_result(studio: Studio) -> None:
    whole, target = studio.folder / "whole.mkv", studio.folder / NAME
    assert pictures_of(target) == pictures_of(whole)
    assert len(pictures_of(target)) == 12 * CHUNKS
    assert others_of(target) == others_of(whole)
    assert not studio.work_dir.exists()
    hidden = [path.name for path in studio.folder.iterdir() if path.name.startswith(".")]
    assert hidden == [], "nothing half-made is left"
    target.unlink()


def test_killed_in_every_phase(studio: Studio) -> None:
    """Main process while planning, everything while working, main while working, main while joining."""
    with studio.run() as job:
        job.until("notice")
        job.process.send_signal(signal.SIGKILL)
    assert not (studio.folder / NAME).exists()

    with studio.run() as job:
        job.until("workers")
        studio.wait_for_done(1)
        main, workers, encoders = job.family()
        kill(main, *workers, *encoders)
    assert job.process.returncode == -signal.SIGKILL
    finished = studio.done()
    assert 1 <= len(finished) < CHUNKS
    corrupt(studio, finished[0])

    with studio.run("--resume") as job:
        job.until("workers")
        studio.wait_for_done(len(finished) + 2)
        kill(job.family()[0])
    assert any(text.startswith(f"chunk {finished[0]} is made again") for text in job.notices())
    assert f"resuming: {len(finished) - 1} finished chunks are in {studio.work_dir}" in job.notices()

    for _ in range(3):  # joining may be over before it is killed
        with studio.run() as job:
            job.until("workers", phase="joining")
            kill(job.family()[0])
        if job.process.returncode == -signal.SIGKILL and not (studio.folder / NAME).exists():
            break
        (studio.folder / NAME).unlink()
    else:
        pytest.fail("joining was never killed")
    assert sorted(set(studio.done())) == list(range(CHUNKS))

    with studio.run() as job:
        assert job.finish() == 0
    assert f"resuming: {CHUNKS} finished chunks are in {studio.work_dir}" in job.notices()
    check_result(studio)


def corrupt(studio: Studio, chunk: int) -> None:
    (part,) = studio.work_dir.glob(f"chunk-{chunk:06}.*.part")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)


def test_workers_and_encoders_killed_while_working(studio: Studio) -> None:
    """The job goes on without them."""
    with studio.run() as job:
        job.until("workers")
        for kind in KINDS:
            studio.wait_for_done(kind)
            kill(job.some(kind))
        assert job.finish() == 0
    lost = [text for text in job.notices() if ", attempt 1 on cpu" in text]
    assert lost, job.notices()
    assert job.events[-1]["frames_out"] == 12 * CHUNKS
    check_result(studio)


def test_workers_and_encoders_killed_while_planning(studio: Studio) -> None:
    """A worker upscales a sample for the estimate."""
    with studio.run("--plan-only") as job:
        job.until("notice", text=f"{CHUNKS} chunks, {12 * CHUNKS} frames, of about 0.5 s each")
        for kind in KINDS:
            kill(job.some(kind))
        assert job.finish() == 0
    assert {path.name for path in studio.folder.iterdir()} == {"in.mkv", "tiny.safetensors", "whole.mkv"}


def test_a_work_dir_that_is_not_ours_to_use(studio: Studio) -> None:
    with studio.run() as job:
        job.until("workers")
        studio.wait_for_done(1)
        kill(job.family()[0])
    before = {path.name: path.read_bytes() for path in studio.work_dir.iterdir()}

    lock = FolderLock(studio.work_dir)
    try:
        with studio.run() as job:
            assert job.finish() == 2
        assert f"process {os.getpid()} on" in job.events[-1]["message"]
        assert "works in this folder" in job.events[-1]["message"]
    finally:
        lock.close()
    with studio.run("--chunk", "1") as job:
        assert job.finish() == 2
    assert "another job: settings.chunks.chunk_s was 0.5 and is 1.0" in job.events[-1]["message"]
    assert before.keys() <= {path.name for path in studio.work_dir.iterdir()}
    with studio.run("--fresh") as job:
        assert job.finish() == 0
    assert any(text.startswith("starting anew: ") for text in job.notices())
    check_result(studio)


def test_a_full_disk_keeps_what_is_finished(studio: Studio, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to mount a tmpfs")
    try:
        with studio.run("--scale", "2", "--work-dir", str(tmp_path / "work")) as job:
            assert job.finish() == 4
        assert "no space left on the device" in job.events[-1]["message"]
        records = read_journal(tmp_path / "work" / "journal.jsonl")
        finished = [record["part"] for record in records if record["kind"] == "done"]
        assert 1 <= len(finished) < CHUNKS
        left = {path.name for path in (tmp_path / "work").iterdir()}
        assert left == {"lock", "journal.jsonl", *finished}
        assert not (studio.folder / NAME).exists()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
