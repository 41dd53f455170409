"""Every stage fails at its first, a middle and its last item, by raising, hanging or being killed: one error that names
the stage, in bounded time, and nothing left behind."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import run_stream
import streamsr.media.sink as sink_module
from streamsr.frames import Packet
from streamsr.media.encode import Encoder
from streamsr.media.source import VideoSource
from streamsr.upscale.engine import Engine
from tests.media import AudioTrack, make_clip
from tests.pipelines.jobs import numbers_of

FRAMES = 8
PATIENCE_S = 2.0
LONG_PATIENCE_S = 20.0
LONGEST_S = 15.0
"""Of a whole failing job, on a busy machine; patience plus the time to give up a stuck thread is about 4 s."""
ITEMS = {"first": 0, "middle": FRAMES // 2, "last": FRAMES - 1}
Fault = Callable[[], None]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "in.mp4", frames=FRAMES, audio=(AudioTrack(),))


@pytest.fixture
def run(tmp_path: Path, clip: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the program on the clip and returns (exit code, stderr)."""

    def call(*extra: str, patience_s: float = LONG_PATIENCE_S) -> tuple[int, str]:
        words = ["upscale", str(clip), str(tmp_path / "out.mp4"), "--model", str(tiny_model), "--scale", "1"]
        words += ["--preset", "ultrafast", "--device", "cpu", "--precision", "fp32", "--batch", "1"]
        words += ["--progress", "none", "--set", f"run.patience_s={patience_s}"]
        started = time.monotonic()
        code = run_stream.main([*words, *extra])
        assert time.monotonic() - started < LONGEST_S
        return code, capsys.readouterr().err

    return call


@pytest.fixture
def hang() -> Iterator[Fault]:
    """A call that does not return before the test is over."""
    over = threading.Event()
    hung: list[threading.Thread] = []

    def wait() -> None:
        hung.append(threading.current_thread())
        over.wait(20)
        raise RuntimeError("the test is over")

    yield wait
    over.set()
    for thread in hung:
        thread.join(5)


def fail() -> None:
    raise RuntimeError("made to fail")


def faulty(monkeypatch: pytest.MonkeyPatch, stage: str, item: int, fault: Fault) -> None:
    """Makes the real `stage` call `fault` before it hands on its item number `item`."""

    def spoiled(results: Iterator[Any]) -> Iterator[Any]:
        for number, result in enumerate(results):
            if number == item:
                fault()
            yield result

    if stage == "decode":
        frames = VideoSource.frames
        monkeypatch.setattr(VideoSource, "frames", lambda self: spoiled(frames(self)))
    elif stage == "upscale":
        upscale = Engine.upscale
        monkeypatch.setattr(Engine, "upscale", lambda self, batches: spoiled(upscale(self, batches)))
    elif stage == "encode":
        encode = Encoder.encode
        monkeypatch.setattr(Encoder, "encode", lambda self, pictures: spoiled(encode(self, pictures)))
    else:
        made, calls = sink_module._av_packet, iter(range(FRAMES))

        def make(packet: Packet, stream: Any) -> Any:
            if next(calls) == item:
                fault()
            return made(packet, stream)

        monkeypatch.setattr(sink_module, "_av_packet", make)


def encoder_process() -> psutil.Process:
    (found,) = [child for child in psutil.Process().children() if any("child_main" in word for word in child.cmdline())]
    return found


def check_nothing_left(folder: Path) -> None:
    """Threads and processes are seen to by conftest."""
    assert [path.name for path in folder.iterdir()] == ["in.mp4"]


def check_message(text: str, *words: str) -> None:
    (line,) = text.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in line
    for word in words:
        assert word in line


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize("stage", ["decode", "upscale", "encode", "mux"])
def test_a_stage_raises(
    tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, stage: str, item: str
) -> None:
    faulty(monkeypatch, stage, ITEMS[item], fail)
    code, text = run()
    assert code == 6
    check_message(text, f"stage {stage}", "RuntimeError: made to fail")
    check_nothing_left(tmp_path)


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize("stage", ["decode", "upscale", "encode", "mux"])
def test_a_stage_hangs(
    tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, hang: Fault, stage: str, item: str
) -> None:
    faulty(monkeypatch, stage, ITEMS[item], hang)
    code, text = run(patience_s=PATIENCE_S)
    assert code == 6
    check_message(text, f"stage {stage}", f"no progress for {PATIENCE_S:g} s", "--debug")
    check_nothing_left(tmp_path)


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize(("number", "words"), [(signal.SIGKILL, "killed by SIGKILL"), (signal.SIGSTOP, "has hung for")])
def test_the_encoder_process_dies_or_freezes(
    tmp_path: Path,
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    words: str,
    item: str,
) -> None:
    faulty(monkeypatch, "upscale", ITEMS[item], lambda: encoder_process().send_signal(number))
    code, text = run(patience_s=PATIENCE_S)
    assert code == 6
    check_message(text, "stage encode", "the encoder process", words)
    check_nothing_left(tmp_path)


@pytest.mark.parametrize("item", ITEMS)
def test_the_disk_is_full(tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, item: str) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    faulty(monkeypatch, "mux", ITEMS[item], full)
    code, text = run()
    assert code in (4, 6)
    check_message(text, "No space left")
    check_nothing_left(tmp_path)


def test_a_failed_job_can_be_run_again(
    tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        faulty(patch, "decode", 3, fail)
        assert run()[0] == 6
    assert run()[0] == 0
    assert numbers_of(tmp_path / "out.mp4") == list(range(FRAMES))


def test_debug_shows_where_it_hangs(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, hang: Fault) -> None:
    faulty(monkeypatch, "decode", 2, hang)
    code, text = run("--debug", patience_s=PATIENCE_S)
    assert code == 6
    assert text.splitlines()[-1].startswith("error: ")
    assert "stages: " in text
    assert "over.wait(20)" in text, "the stack of the thread that hangs"


def test_a_slow_network_has_not_hung(tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    patience_s = 5.0  # long enough for an encoder process to start on a busy machine
    forward = torch.nn.Conv2d.forward

    def slow(self: torch.nn.Conv2d, features: torch.Tensor) -> torch.Tensor:
        time.sleep(0.4 * patience_s)
        return forward(self, features)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", slow)
    code, text = run("--duration", "0.01", patience_s=patience_s)
    assert (code, text) == (0, ""), "three layers take longer than the patience, but each shows that it lives"
    assert numbers_of(tmp_path / "out.mp4") == [0]
