from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from streamsr.runtime.child import Child
from streamsr.runtime.gate import Cancelled, Gate
from tests.runtime import child_targets as targets

START_S = 20.0
"""Time for a child to start on a busy machine."""

Start = Callable[..., Child]


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def start(gate: Gate) -> Iterator[Start]:
    children: list[Child] = []

    def _start(target: Callable[..., None], *args: Any) -> Child:
        children.append(Child("child", target, args, gate))
        return children[-1]

    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    yield _start
    for child in children:
        child.stop(0.0)
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def wait_for_end(child: Child) -> None:
    deadline = time.monotonic() + START_S
    while child.alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_messages_go_both_ways_and_none_ends_it(start: Start) -> None:
    child = start(targets.echo)
    assert child.alive()
    assert child.exit_status() == "running"
    for message in ({"a": [1, 2]}, "x" * 1_000, b""):
        child.send(message, START_S)
        assert child.recv(START_S) == message
    child.send(None, START_S)
    with pytest.raises(EOFError, match="exit code 0"):
        child.recv(START_S)
    assert child.exit_status() == "exit code 0"


def test_it_starts_without_the_heavy_libraries(start: Start) -> None:
    modules = start(targets.tell_modules).recv(START_S)
    assert "tests.runtime.child_targets" in modules
    assert not {"torch", "av", "numpy", "cv2", "pydantic", "pytest", "psutil"} & set(modules)


def test_death_is_an_end_of_file_with_evidence(start: Start) -> None:
    child = start(targets.exit_with, 7)
    with pytest.raises(EOFError, match="child: exit code 7"):
        child.recv(START_S)
    assert child.last_words() == "last words\n"
    assert child.cpu_seconds() is None


def test_a_failing_target_leaves_its_traceback(start: Start) -> None:
    child = start(targets.chatter, "one argument too many")
    with pytest.raises(EOFError, match="exit code 1"):
        child.recv(START_S)
    assert "TypeError: chatter()" in child.last_words()


def test_last_words_are_the_end_and_survive_the_child(start: Start) -> None:
    child = start(targets.chatter)
    assert child.recv(START_S) is None
    assert child.last_words(7) == "the end"
    assert len(child.last_words(500)) == 500
    child.stop(START_S)
    assert child.last_words(7) == "the end"


def test_a_killed_child_is_told_apart(start: Start) -> None:
    child = start(targets.echo)
    child.send(1, START_S)
    assert child.recv(START_S) == 1
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(EOFError, match="killed by SIGKILL"):
        child.recv(START_S)
    with pytest.raises(EOFError, match="killed by SIGKILL"):
        child.send(2, START_S)


def test_messages_sent_before_death_are_still_read(start: Start) -> None:
    child = start(targets.interrupt_itself)
    wait_for_end(child)
    assert child.recv(START_S) == "still here"
    with pytest.raises(EOFError):
        child.recv(START_S)


def test_ctrl_c_does_not_reach_it(start: Start) -> None:
    child = start(targets.interrupt_itself)
    assert child.recv(START_S) == "still here"
    assert os.getpgid(child.pid) != os.getpgid(0)


def test_silence_times_out(start: Start) -> None:
    child = start(targets.deaf)
    with pytest.raises(TimeoutError, match="child did not answer"):
        child.recv(0.1)

    def fill_the_pipe() -> None:
        for _ in range(10_000):
            child.send(b"x" * 1_000, 0.1)

    with pytest.raises(TimeoutError, match="child did not answer"):
        fill_the_pipe()


@pytest.mark.parametrize("side", ["send", "recv"])
def test_an_abort_cancels(start: Start, gate: Gate, side: str) -> None:
    child = start(targets.echo)
    gate.abort(ValueError("stop"))
    with pytest.raises(Cancelled, match="stop"):
        child.recv(START_S) if side == "recv" else child.send(1, START_S)


def test_stop_lets_it_finish_or_kills(start: Start) -> None:
    polite, stubborn = start(targets.echo), start(targets.ignore_the_end)
    assert stubborn.recv(START_S) == "ready"
    polite.send(1, START_S)
    assert polite.recv(START_S) == 1
    stubborn.stop(0.1)
    assert stubborn.exit_status() == "killed by SIGKILL"
    polite.stop(START_S)
    assert polite.exit_status() == "exit code 1"  # the pipe ended where the target expected a message
    polite.stop(START_S)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_cpu_seconds(start: Start) -> None:
    child = start(targets.echo)
    child.send(1, START_S)
    child.recv(START_S)
    seconds = child.cpu_seconds()
    assert seconds is not None
    assert 0 <= seconds < START_S


def test_a_target_in_main_is_refused(gate: Gate) -> None:
    def target() -> None: ...

    target.__module__ = "__main__"
    with pytest.raises(AssertionError, match="module that can be imported"):
        Child("child", target, (), gate)


def test_a_failed_start_leaks_nothing(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    with pytest.raises(AttributeError):
        Child("child", targets.echo, (lambda: 0,), gate)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(FileNotFoundError):
        Child("child", targets.echo, (), gate)
    assert (len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0) == before


PROGRAM = """
    import sys
    with open(sys.argv[1], "a") as file:
        file.write("imported\\n")
    from tests.runtime import child_targets
    from streamsr.runtime.crew import Crew
    with Crew(60) as crew:
        child = crew.process("child", getattr(child_targets, sys.argv[2]))
        if sys.argv[2] == "echo":
            child.send(0, 60)
        print(child.pid, child.recv(60) is not None, flush=True)
        if sys.argv[3] == "wait":
            crew.gate.wait(60)
"""


def program(tmp_path: Path, target: str, then: str, how: str) -> subprocess.Popen[str]:
    """A main program with a child, run as a file or as text (as a REPL would)."""
    text = textwrap.dedent(PROGRAM)
    script = tmp_path / "program.py"
    script.write_text(text)
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    return subprocess.Popen(
        [sys.executable, *([str(script)] if how == "file" else ["-c", text]), str(tmp_path / "imports"), target, then],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


@pytest.mark.parametrize("how", ["file", "text"])
def test_the_main_module_is_not_run_again(tmp_path: Path, how: str) -> None:
    with program(tmp_path, "tell_modules", "leave", how) as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.split()[1] == "True"
    assert (tmp_path / "imports").read_text() == "imported\n"


@pytest.mark.parametrize("target", ["echo", "ignore_the_end", "hold_the_interpreter"])
def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path, target: str) -> None:
    with program(tmp_path, target, "wait", "file") as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline().split()[0]))
        assert child.is_running()
        process.kill()
    try:
        child.wait(10)
    except psutil.TimeoutExpired:
        child.kill()
        pytest.fail("the child lived on")
