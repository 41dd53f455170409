"""What the children of the tests run. Imported by the new process, so it imports little."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from streamsr.runtime.slots import MappedSlots


def echo(connection: Connection[Any, Any]) -> None:
    """Sends back what comes, until None."""
    while (message := connection.recv()) is not None:
        connection.send(message)


def doubler(connection: Connection[Any, Any], slots: MappedSlots, fails_at: int, how: str) -> None:
    """(number, slot) -> twice the number, which the slot must hold; at item `fails_at` it fails in the way `how`."""
    connection.send("ready")
    while (message := connection.recv()) is not None:
        number, slot = message
        assert slots.memory(slot)[0] == number
        if number == fails_at:
            fail(how)
        connection.send(2 * number)


def fail(how: str) -> None:
    if how == "raise":
        raise RuntimeError("the child is unhappy")
    if how == "hang":
        time.sleep(60)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


def tell_modules(connection: Connection[Any, Any]) -> None:
    connection.send(sorted(sys.modules))


def hold_the_interpreter(connection: Connection[Any, Any]) -> None:
    """Says hello, then hangs in a library without giving the interpreter's lock back."""
    connection.send(os.getpid())
    ctypes.PyDLL(None).sleep(60)


def exit_with(connection: Connection[Any, Any], code: int) -> None:
    sys.stderr.write("last words\n")
    sys.stderr.flush()
    sys.exit(code)


def ignore_the_end(connection: Connection[Any, Any]) -> None:
    """Survives everything but SIGKILL."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection.send("ready")
    time.sleep(60)


def interrupt_itself(connection: Connection[Any, Any]) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    connection.send("still here")


def fill_slot(connection: Connection[Any, Any], slots: MappedSlots, index: int, value: int) -> None:
    memory = slots.memory(index)
    memory[:] = bytes([value]) * len(memory)
    connection.send((slots.count, slots.slot_bytes, slots.total_bytes))


def deaf(connection: Connection[Any, Any]) -> None:
    """Reads nothing."""
    time.sleep(60)


def chatter(connection: Connection[Any, Any]) -> None:
    sys.stdout.write("x" * 10_000 + "the end")
    sys.stdout.flush()
    connection.send(None)


def fill_and_hold(connection: Connection[Any, Any], slots: MappedSlots) -> None:
    """Touches all of slot 0, says so, and waits for a message."""
    memory = slots.memory(0)
    memory[:] = bytes(len(memory))
    connection.send("ready")
    connection.recv()
