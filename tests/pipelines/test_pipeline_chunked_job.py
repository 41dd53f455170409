"""The verb `chunked` with a worker in this process: plans, refusals, many files, and what a worker checks."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pipelines.chunk
import run_stream
from pipelines.chunk import ChunkTask, open_work
from pipelines.chunk_order import prepare
from pipelines.chunk_workers import workers_to_fill
from pipelines.queue_file import QueueFile
from streamsr.chunks.executor import Place
from streamsr.chunks.plan import Chunk
from streamsr.errors import SourceError, StreamSRError, WeightsError
from streamsr.frames import Window
from tests.media import AudioTrack, make_clip
from tests.pipelines.chunk_jobs import ChunkEars, chunk_job, inline
from tests.pipelines.jobs import numbers_of

__all__ = ["inline"]

PLACE = Place("cpu", 1, "test")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "in.mp4", frames=48, gop=12, b_frames=2, audio=(AudioTrack(),))


@pytest.fixture
def run(tiny_model: Path, inline: None, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the program; (exit code, stdout, stderr)."""

    def call(*words: str, extra: tuple[str, ...] = ()) -> tuple[int, str, str]:
        options = ["--model", str(tiny_model), "--scale", "1", "--device", "cpu", "--precision", "fp32"]
        options += ["--preset", "ultrafast", "--chunk", "0.5", *extra]
        code = run_stream.main(["chunked", *words, *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_joints_play_without_a_warning(tmp_path: Path, clip: Path, run: Callable[..., Any]) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    for name in ("out.mp4", "out.mkv", "out.mov"):
        assert run(str(clip), str(tmp_path / name))[0] == 0
        command = ["ffmpeg", "-v", "warning", "-xerror", "-threads", "1", "-i", str(tmp_path / name)]
        command += ["-enc_time_base", "1:90000", "-f", "null", "-"]  # else Matroska's milliseconds collide in frames
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
        assert (done.returncode, done.stderr) == (0, ""), name
        assert numbers_of(tmp_path / name) == list(range(48))


def test_a_plan_is_shown_and_nothing_written(tmp_path: Path, clip: Path, run: Callable[..., Any]) -> None:
    code, out, _ = run(str(clip), str(tmp_path / "out.mp4"), extra=("--plan-only",))
    rows = [line.split() for line in out.splitlines()]
    chunks = [row for row in rows if row and row[0].isdigit()]
    assert code == 0
    assert rows[1][:2] == ["chunk", "start"]
    assert [int(row[0]) for row in chunks] == list(range(len(chunks)))
    assert len(chunks) > 2
    assert sum(int(row[5]) for row in chunks[:-1]) + int(chunks[-1][6]) == 48
    assert any(row[:1] == ["time"] for row in rows)
    assert any(row[:1] == ["size"] for row in rows)
    assert list(tmp_path.iterdir()) == [clip]


def test_a_target_that_exists_is_refused_before_any_work(tmp_path: Path, clip: Path, run: Callable[..., Any]) -> None:
    (tmp_path / "out.mp4").write_bytes(b"dear")
    code, _, errors = run(str(clip), str(tmp_path / "out.mp4"))
    assert code == 4
    assert "exists" in errors
    assert len(errors.splitlines()) == 1
    assert (tmp_path / "out.mp4").read_bytes() == b"dear"
    assert not (tmp_path / ".out.mp4.chunks").exists()


def made_to_fail(*_: object) -> None:
    raise RuntimeError("made to fail")


def test_nothing_is_left_when_no_chunk_was_finished(
    tmp_path: Path, clip: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, errors = run(str(clip), str(tmp_path / "out.mp4"), extra=("--resume",))
    assert code == 2
    assert "nothing to resume" in errors
    monkeypatch.setattr(pipelines.chunk, "write_part", made_to_fail)
    code, _, errors = run(str(clip), str(tmp_path / "out.mp4"))
    assert code == 6
    assert "made to fail" in errors
    assert "go on" not in errors
    assert list(tmp_path.iterdir()) == [clip]


def test_several_files_and_one_is_bad(tmp_path: Path, clip: Path, run: Callable[..., Any]) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    report = tmp_path / "report.json"
    extra = ("--report", str(report), "--progress", "json")
    code, out, errors = run(str(tmp_path / "bad.mp4"), str(clip), str(tmp_path / "out"), extra=extra)
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 7
    assert len(errors.splitlines()) == 1
    assert events[-1]["text"] == "1 upscaled, 0 skipped, 1 failed of 2 files"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["in.mp4"]
    assert [facts["chunks"]["planned"] for facts in json.loads(report.read_text())] == [3]
    code, out, _ = run(str(clip), str(tmp_path / "out") + "/", extra=("--progress", "json"))
    assert code == 4, "one file, named: it is not skipped in silence"


def test_a_queue_is_read_again(tmp_path: Path, clip: Path, run: Callable[..., Any]) -> None:
    queue = tmp_path / "queue.txt"
    queue.write_text(f"# tonight\n\n{clip} -> {tmp_path}/a.mkv\n{tmp_path}/gone.mp4 -> {tmp_path}/b.mkv\n{clip}\n")
    code, out, _ = run(extra=("--queue", str(queue), "--progress", "json"))
    failed = [event["message"] for event in map(json.loads, out.splitlines()) if event["event"] == "error"]
    assert code == 7
    assert len(failed) == 2
    assert "no such file" in failed[0]
    assert "queue.txt, line 5" in failed[1]
    assert numbers_of(tmp_path / "a.mkv") == list(range(48))

    code, out, _ = run(str(tmp_path / "out"), extra=("--queue", str(queue), "--progress", "json"))
    assert "finished already" in out
    assert numbers_of(tmp_path / "out" / "in.mp4") == list(range(48))


def test_lines_may_be_added_and_taken_out_meanwhile(tmp_path: Path) -> None:
    for name in "abcd":
        (tmp_path / name).touch()
    file = tmp_path / "queue.txt"
    lines = [f"{tmp_path / name} -> {tmp_path / name}.mkv" for name in "abcd"]
    file.write_text("\n".join(lines[:3]))
    queue, seen = QueueFile(file, None), []
    for entry in queue:
        seen.append(entry.source.name)
        if entry.source.name == "a":
            file.write_text("\n".join([lines[0], lines[0], lines[2], lines[3]]))
    assert seen == ["a", "c", "d"]
    assert queue.total == 3


def test_a_worker_refuses_other_files(tmp_path: Path, tiny_model: Path, clip: Path) -> None:
    setup = prepare(chunk_job(tiny_model), clip, tmp_path / "out.mkv", ChunkEars()).setup
    with pytest.raises(WeightsError, match="checkpoint on this machine is another one"):
        open_work(replace(setup, model_sha256="0" * 64), PLACE).__enter__()
    with pytest.raises(SourceError, match="bytes here"):
        open_work(replace(setup, source_bytes=1), PLACE).__enter__()
    with pytest.raises(SourceError, match="cannot be read here"):
        open_work(replace(setup, source=str(tmp_path / "gone.mp4")), PLACE).__enter__()


def test_parts_do_not_depend_on_threads_and_batch(tmp_path: Path, clip: Path) -> None:
    """With the network that comes with streamsr, on the CPU; only x264's own bits depend on its threads."""
    order = prepare(chunk_job(Path("lite"), upscale__scale=2), clip, tmp_path / "out.mkv", ChunkEars())
    hashes = set()
    for threads, batch in ((1, 1), (2, 1), (1, 3), (2, 5)):
        treatment = order.setup.treatment
        treatment = replace(treatment, budget=replace(treatment.budget, batch=batch))
        with open_work(replace(order.setup, treatment=treatment), replace(PLACE, threads=threads)) as work:
            part = tmp_path / f"{threads}-{batch}.part"
            done = work(ChunkTask(order.film.plan.chunks[1], str(part)), lambda frames: None)
            hashes.add(hashlib.sha256(part.read_bytes()).hexdigest())
            assert done.facts.frames == done.decoded.frames == order.film.plan.chunks[1].frames
    assert len(hashes) == 1


def test_a_worker_does_chunk_after_chunk(tmp_path: Path, tiny_model: Path, clip: Path) -> None:
    """Also after one without pictures, and after one that failed."""
    order = prepare(chunk_job(tiny_model), clip, tmp_path / "out.mkv", ChunkEars())
    first, told = order.film.plan.chunks[0], list[int]()
    with open_work(order.setup, PLACE) as work:
        nothing = work(ChunkTask(Chunk(9, Window(10**9), 3), str(tmp_path / "9.part")), told.append)
        assert (nothing.facts, nothing.decoded.frames, told) == (None, 0, [])
        assert not (tmp_path / "9.part").exists()
        with pytest.raises(StreamSRError, match="cannot write"):
            work(ChunkTask(first, str(tmp_path / "no folder" / "0.part")), told.append)
        done = work(ChunkTask(first, str(tmp_path / "0.part")), told.append)
        assert done.facts.frames == first.frames == told[-1]
        assert done.seconds["total"] >= done.seconds["open"] > 0


def test_workers_are_added_where_the_gpu_waits() -> None:
    def wanted(upscale_s: float, encode_s: float, cores: int) -> int:
        seconds = {"open": 1.0, "total": 11.0, "decode": 1.0, "upscale": upscale_s, "encode": encode_s}
        return workers_to_fill(seconds, cores)[0]

    assert wanted(9.8, 3.0, 64) == 1
    assert wanted(5.0, 9.9, 64) == 2
    assert wanted(2.6, 9.9, 64) == 4
    assert wanted(2.6, 9.9, 4) == 2, "two cores for each"
    assert wanted(0.1, 9.9, 64) == 8
