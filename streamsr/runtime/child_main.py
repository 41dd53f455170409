"""What a child process runs first: see `child.Child`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

ORPHANED = 113


def main(pipe: int, lifeline: int) -> None:
    """Receives (target, args) over descriptor `pipe` and runs it until it returns. `lifeline` is the reading end of a
    pipe whose other end only the parent has: its end is the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for descriptor in (pipe, lifeline):
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_die_with_parent, args=(lifeline,), name="lifeline", daemon=True).start()
    _ask_kernel_to_kill(lifeline)
    connection: Connection[Any, Any] = Connection(pipe)
    target, args = connection.recv()
    target(connection, *args)
    connection.close()


def _die_with_parent(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os._exit(ORPHANED)


def _ask_kernel_to_kill(lifeline: int) -> None:
    """The watching thread needs the interpreter's lock, which a hanging library may hold for ever. On Linux the kernel
    itself can send SIGKILL when the parent's end closes (fcntl(2), F_SETSIG)."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
