"""The end of the process, also while a thread is inside a library that nothing can stop."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """Ends the process with this exit status.

    A network's picture may take minutes on a CPU, and nobody waits for it: its thread is left at work. The ordinary
    end would run the destructors of C++ under that thread, which aborts the process (torch: "terminate called without
    an active exception", exit status 134). With such a thread only Python's own end is run: other threads are waited
    for, what is registered with atexit is called, and streams are flushed."""
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    if not any(thread.daemon for thread in others):
        sys.exit(code)
    for thread in others:
        if not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # its reader has left, or it is closed
            continue
    os._exit(code)
