"""The arguments that this process was started with, as `ps` shows them to every user of the machine."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

_ARG_START, _ARG_END = 45, 46
"""Places of proc(5)'s fields 48 and 49 behind the process' name, which may hold spaces and brackets."""


def hide_arguments(shown: Callable[[str], str]) -> None:
    """Overwrites each argument with what `shown` makes of it, cut or filled to the same length. On Linux; elsewhere
    nothing happens. sys.argv stays as it is. Other processes could read the arguments until now."""
    process = Path("/proc/self")
    try:
        fields = (process / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        arguments = (process / "cmdline").read_bytes()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    except (OSError, ValueError, IndexError):
        return
    # The kernel gives zeros to those who may not know; and where somebody has moved the arguments, lengths differ.
    if start <= 0 or end - start != len(arguments):
        return
    ctypes.memmove(start, b"\0".join(_fitted(each, shown) for each in arguments.split(b"\0")), len(arguments))


def _fitted(argument: bytes, shown: Callable[[str], str]) -> bytes:
    text = argument.decode("utf-8", "surrogateescape")
    new = shown(text)
    return argument if new == text else new.encode("utf-8", "surrogateescape")[: len(argument)].ljust(len(argument))
