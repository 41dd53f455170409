"""Servers of the tests, each in a process of its own that dies with the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

START_S = 30.0
"""A busy machine is slow to start something; whoever waits goes on at once when it is there."""
LOOK_S = 0.01


def needed(*programs: str) -> None:
    """Skips the test where one of these programs is not installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; .ci/install-live.sh installs it")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of 127.0.0.1 that nobody has at this moment."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def is_open(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(condition: Callable[[], bool], what: str, timeout_s: float = START_S) -> None:
    """Waits until `condition` holds. Fails the test, naming `what`, where it does not within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {timeout_s:g} s")
        time.sleep(LOOK_S)


class ServerProcess:
    """A program and all that it starts, as one process group. A with-block ends it.

    `ready`: what its output holds, or a condition that is true, when it can be used. `log` is all that it has said."""

    def __init__(
        self,
        command: Sequence[str],
        ready: str | Callable[[], bool],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._command, self._ready, self._env, self._cwd = list(command), ready, env, cwd
        self._folder = tempfile.TemporaryDirectory(prefix="streamsr-server-")
        self._log = Path(self._folder.name, "log")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it and waits until it is ready. A log of an earlier run is gone."""
        assert not self.is_running
        # Whatever kills the test also kills the server: it would hold its port for ever.
        death = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*death, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(self._env or {})},
                cwd=self._cwd,
                start_new_session=True,
            )
        until(self._is_ready, f"{self._command[0]} ready")

    def wait_for(self, text: str, timeout_s: float = START_S) -> None:
        """Until its output holds `text`."""
        until(lambda: text in self.log, f"{text!r} from {self._command[0]}, which said {self.log!r}", timeout_s)

    def stall(self) -> None:
        """It takes connections, as the kernel does that, and does nothing any more."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """At once, as a power cut."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        """Killed if it still runs, then started again the same way, on the same port."""
        self.kill()
        self.start()

    def close(self) -> None:
        self.kill()
        self._folder.cleanup()

    def _is_ready(self) -> bool:
        if not self.is_running:
            pytest.fail(f"{self._command[0]} ended: {self.log}")
        return self._ready in self.log if isinstance(self._ready, str) else self._ready()
