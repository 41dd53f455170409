"""How the C library's allocator treats large blocks that come and go: it keeps them. Linux with glibc; elsewhere
nothing changes.

Each layer's result is tens of megabytes; handed back to the kernel and fetched again for every layer, page faults take
a third of the time (measured: animevideov3 at 960x540 on two cores, 5.4 -> 3.7 s a picture, 1.1 million -> 2 thousand
faults). One arena, as only the first one grows without mmap."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_NEVER = 2**31 - 1
_TOP_PAD = 64 << 20
_TUNABLES = {"arena_max": 1, "mmap_max": 0, "trim_threshold": _NEVER, "top_pad": _TOP_PAD}


def keep_freed_memory() -> None:
    """For all threads of this process that are still to be started: call it before any other thread is. One that runs
    already may have an arena of its own, which later threads then get too."""
    if sys.platform != "linux":
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
        libc.mallopt(_M_TOP_PAD, _TOP_PAD)
    except (OSError, AttributeError):  # another libc: slower, not wrong
        return


def keeping(tunables: str) -> str:
    """The same for a process that is to be started: its GLIBC_TUNABLES, where this process's is `tunables`, or "". It
    holds from the first thread on, of which a child that watches its parent has one before any work begins."""
    ours = [f"glibc.malloc.{name}={value}" for name, value in _TUNABLES.items()]
    return ":".join([*ours, *filter(None, [tunables])])
