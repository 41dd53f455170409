"""A child process with one pipe. It starts in a fresh interpreter, knows nothing of the parent's main module, and dies
with its parent however that ends. POSIX."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing import context, reduction
from multiprocessing.connection import Connection
from typing import Any, cast

from streamsr.runtime.gate import Gate
from streamsr.runtime.meters import current_meter

POLL_S = 0.05
BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); "
    "from streamsr.runtime.child_main import main; main(int(sys.argv[1]), int(sys.argv[2]))"
)


class Child:
    """Runs `target(connection, *args)` in a new process.

    `target` is a function of an importable module (never of `__main__`, whose import would run the program twice and
    drag in all that it imports); `args` are picklable, and a SlotRing among them arrives as MappedSlots. Only what
    the target's module imports is imported. stdout and stderr of the child go to an unnamed file, see `last_words`;
    Ctrl-C does not reach it: the parent decides. `environment`: variables that it gets beside the parent's, set before
    any import of its own.

    One thread may send while another receives. Not `multiprocessing.Process`: that imports the parent's main module
    in the child, and a death signal (prctl) would be tied to the thread that started it, not to the process."""

    def __init__(
        self,
        name: str,
        target: Callable[..., None],
        args: tuple[Any, ...],
        gate: Gate,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        assert target.__module__ != "__main__", f"{target.__qualname__} must live in a module that can be imported"
        self.name = name
        self._gate = gate
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        ours, theirs = socket.socketpair()
        lifeline_end, self._lifeline = os.pipe()
        inherited = _Inherited([theirs.fileno(), lifeline_end])
        try:
            payload = inherited.pickle((target, args))
            paths = [path or os.getcwd() for path in sys.path]
            self._process = subprocess.Popen(
                [sys.executable, "-c", BOOTSTRAP, str(theirs.fileno()), str(lifeline_end), json.dumps(paths)],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=inherited.descriptors,
                env={**os.environ, **(environment or {})},
                process_group=0,  # a terminal's Ctrl-C goes to the parent's group only
            )
        except BaseException:
            ours.close()
            os.close(self._lifeline)
            self._log.close()
            raise
        finally:
            theirs.close()
            os.close(lifeline_end)
        self.pid = self._process.pid
        self._socket = ours
        self.connection: Connection[Any, Any] = Connection(os.dup(ours.fileno()))
        # A child that died before reading is noticed by whoever receives next.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send_bytes(payload)

    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, item: Any, timeout: float) -> None:
        """Pickle `item` to the child. Meant for small messages: pixels travel in slots. Raises EOFError when the child
        is dead, TimeoutError when it reads nothing for `timeout` seconds, Cancelled."""
        self._wait_for(select.POLLOUT, timeout)
        try:
            self.connection.send(item)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._death() from error
        current_meter().pulse()

    def recv(self, timeout: float) -> Any:
        """The child's next message. Raises EOFError with the exit status when the child is dead and all its messages
        are read, TimeoutError after `timeout` seconds of silence, Cancelled."""
        self._wait_for(select.POLLIN, timeout)
        try:
            item = self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self._death() from error
        current_meter().pulse()
        return item

    def cpu_seconds(self) -> float | None:
        """User and system time that the child has used; None when it is gone or the system does not tell."""
        try:
            with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def last_words(self, limit: int = 2000) -> str:
        """The last `limit` bytes of what the child wrote to stdout and stderr."""
        if self._log.closed:
            return self._last_words[-limit:]
        descriptor = self._log.fileno()
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, limit, max(0, size - limit)).decode("utf-8", "replace")

    def exit_status(self) -> str:
        """ "running", "exit code 1" or "killed by SIGKILL"."""
        code = self._process.poll()
        if code is None:
            return "running"
        if code >= 0:
            return f"exit code {code}"
        return f"killed by {_signal_name(-code)}"

    def stop(self, patience_s: float) -> None:
        """End the child for good and free what belongs to it: closes the pipe, waits `patience_s` for it to end by
        itself, then terminates, then kills. Can be called again."""
        if self._log.closed:
            return
        # Not close: a thread that still reads would find somebody else's file under the same number.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for signal_, wait_s in ((None, patience_s), (signal.SIGTERM, 0.5), (signal.SIGKILL, 5.0)):
            if signal_ is not None and self.alive():
                self._process.send_signal(signal_)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
                break
        os.close(self._lifeline)
        self.connection.close()
        self._socket.close()
        self._last_words = self.last_words(1 << 16)
        self._log.close()

    def _wait_for(self, event: int, timeout: float) -> None:
        """Until the pipe can be read or written, or is broken."""
        deadline = time.monotonic() + timeout
        poll = select.poll()
        self._gate.check()
        poll.register(self.connection.fileno(), event)
        while not poll.poll(POLL_S * 1000):
            self._gate.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.name} did not answer for {timeout:g} s")

    def _death(self) -> EOFError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        return EOFError(f"process {self.name}: {self.exit_status()}")


class _Descriptor:
    """An inherited descriptor, which has the same number in the child."""

    def __init__(self, number: int) -> None:
        self._number = number

    def detach(self) -> int:
        return self._number


class _Inherited:
    """Collects the descriptors that pickled arguments want to take along. It plays the part of multiprocessing's
    Popen, whose protocol (`duplicate_for_child`) reduction.DupFd speaks."""

    DupFd = _Descriptor

    def __init__(self, descriptors: list[int]) -> None:
        self.descriptors = descriptors

    def pickle(self, value: Any) -> bytes:
        buffer = io.BytesIO()
        context.set_spawning_popen(cast(Any, self))
        try:
            reduction.ForkingPickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
        finally:
            context.set_spawning_popen(None)
        return buffer.getvalue()

    def duplicate_for_child(self, descriptor: int) -> int:
        self.descriptors.append(descriptor)
        return descriptor


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
