"""Functions that a child process of test_runtime_allocator.py runs."""

from __future__ import annotations

import ctypes
import resource
import threading
from multiprocessing.connection import Connection
from typing import Any

BLOCK = 96 << 20
"""Of bytes: more than an arena that is not the first one can hold."""


def faults_of_a_later_thread(connection: Connection[Any, Any], times: int) -> None:
    """Sends the page faults of a thread that takes a large block, writes to all of it and gives it back, `times` times
    after a first one."""
    libc = ctypes.CDLL("libc.so.6")
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]

    def use() -> None:
        block = libc.malloc(BLOCK)
        ctypes.memset(block, 1, BLOCK)
        libc.free(block)

    def work() -> None:
        use()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(times):
            use()
        connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
