"""The whole program `streamsr restream` under test, as users run it: a process with its children, a status file, and
signals."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.live.clips import Shown, shown_in
from tests.live.server_process import ServerProcess, until

PROGRAM = Path(__file__).resolve().parents[2] / "run_stream.py"
SMALL = ("--model", "resize", "--to", "320x180", "--set", "encode.preset=ultrafast")
"""Options for a test that is not about pictures: cheap, so that only faults take time."""
STOP_S = 5.0
"""From SIGTERM to the end, at most."""
SOUND_CLIP_S = 4.0
"""Of the fixture sound_clip, which is what the recordings show."""
SYNC_S = 0.06
"""Sound and pictures may be so far apart: three packets of sound."""
HELD_S = 1.6
"""The last picture is shown again when there was none for a second; on a busy machine a little later."""


class Restream(ServerProcess):
    """`words` are options, source and targets. A with-block kills all that is left; `stop` ends it as an operator does.

    Everything it wrote is in `log`; its recordings are where `words` put them."""

    def __init__(
        self, folder: Path, *words: str, prefix: Sequence[str] = (), env: dict[str, str] | None = None
    ) -> None:
        self._status_file = folder / "status.json"
        command = [*prefix, sys.executable, str(PROGRAM), "restream", "--status-file", str(self._status_file)]
        super().__init__([*command, *words], lambda: True, env=env)

    def status_text(self) -> str:
        return self._status_file.read_text() if self._status_file.exists() else ""

    def streams(self) -> dict[str, dict[str, Any]]:
        """What the status file says now, by name of the stream."""
        found: list[dict[str, Any]] = json.loads(self.status_text() or '{"streams": []}')["streams"]
        return {stream["name"]: stream for stream in found}

    def stream(self, name: str | None = None) -> dict[str, Any]:
        """One of them; without a name the only one."""
        streams = self.streams()
        nothing = {"state": "", "counters": {}, "targets": [], "latency": {}, "error": ""}
        return next(iter(streams.values()), nothing) if name is None else streams.get(name, nothing)

    def count(self, counter: str, name: str | None = None) -> int:
        return int(self.stream(name)["counters"].get(counter, 0))

    def wait(
        self, condition: Callable[[dict[str, Any]], bool], what: str, timeout_s: float = 30, name: str | None = None
    ) -> None:
        """Until the status of a stream is so. Fails at once where the program has ended."""

        def holds() -> bool:
            if not self.is_running:
                pytest.fail(f"waiting for {what}, the program ended: {self.log}")
            return condition(self.stream(name))

        try:
            until(holds, what, timeout_s)
        except pytest.fail.Exception as failure:
            pytest.fail(f"{failure}\n{self.log}\n{self.status_text()}")

    def wait_live(self, name: str | None = None, more: int = 10) -> None:
        """Until the stream is live and has put out `more` new pictures."""
        begin = self.count("pictures_out", name)
        self.wait(
            lambda stream: stream["state"] == "live" and stream["counters"]["pictures_out"] >= begin + more,
            f"{name or 'the stream'} live",
            name=name,
        )

    def wait_targets(self, name: str | None = None) -> None:
        """Until all targets of the stream are up."""
        self.wait(lambda stream: all(each["state"] == "live" for each in stream["targets"]), "targets up", name=name)

    def processes(self) -> list[psutil.Process]:
        """The program and all that it has started, also what would outlive it."""
        return [process for process in psutil.process_iter() if _session_of(process.pid) == self.pid]

    def child_at_port(self, port: int) -> psutil.Process:
        """The child that is connected to this port of 127.0.0.1."""
        return self._child(
            lambda child: any(each.raddr and each.raddr.port == port for each in child.net_connections("inet")),
            str(port),
        )

    def child_that_writes(self, folder: Path) -> psutil.Process:
        return self._child(
            lambda child: any(each.path.startswith(str(folder)) for each in child.open_files()), str(folder)
        )

    def children(self) -> list[psutil.Process]:
        return list(psutil.Process(self.pid).children(recursive=True))

    def _child(self, is_it: Callable[[psutil.Process], bool], what: str) -> psutil.Process:
        found = [child for child in self.children() if is_it(child)]
        assert len(found) == 1, f"{what}: {found}"
        return found[0]

    def hang_up(self) -> None:
        """SIGHUP: the streams are to be read again."""
        os.kill(self.pid, signal.SIGHUP)

    def stop(self, code: int = 0) -> None:
        """SIGTERM; it ends cleanly, in time, with this exit status, and nothing of it is left."""
        os.kill(self.pid, signal.SIGTERM)
        self.ended(code, STOP_S)

    def ended(self, code: int, timeout_s: float) -> None:
        """It ends by itself within the time, with this exit status, and nothing of it is left."""
        assert self._process is not None
        began = time.monotonic()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {timeout_s:g} s: {self.log}")
        took = time.monotonic() - began
        assert self._process.returncode == code, f"exit {self._process.returncode} after {took:.1f} s: {self.log}"
        assert "Traceback" not in self.log
        until(lambda: not self.processes(), f"all processes of the program ended: {self.processes()}", 2.0)


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def recording_in(folder: Path) -> Path:
    found = sorted(folder.glob("*.mkv"))
    assert len(found) == 1, found
    return found[0]


def assert_whole(path: Path) -> Shown:
    """One timeline from the beginning to the end: pictures and sound never stop nor go back, and stay together."""
    shown = shown_in(path)
    times = [time_s for time_s, _ in shown.pictures]
    assert len(times) > 10
    steps = [after - before for before, after in itertools.pairwise(times)]
    assert min(steps) > 0, "pictures go back"
    assert max(steps) < HELD_S, f"no picture for {max(steps):.1f} s of {times[-1]:.1f}"
    gaps = [after - before for before, after in itertools.pairwise(shown.audio_times)]
    assert min(gaps) > 0, "sound goes back"
    assert max(gaps) < 0.1, f"no sound for {max(gaps):.2f} s"
    errors = shown.sync_errors(SOUND_CLIP_S)
    assert errors
    assert max(map(abs, errors)) < SYNC_S, f"sound and pictures are apart: {errors}"
    return shown
