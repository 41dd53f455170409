"""The end of a process whose thread is inside a library."""

from __future__ import annotations

import subprocess
import sys
import time

PROGRAM = """
import atexit, sys, threading, time
import torch
from streamsr.runtime.leave import leave

def picture():
    network = torch.nn.Sequential(*[torch.nn.Conv2d(32, 32, 3, padding=1) for _ in range(600)])
    with torch.inference_mode():
        network(torch.zeros(1, 32, 1080, 1920))

def last():
    time.sleep(0.2)
    print("waited for")

threading.Thread(target=picture, daemon=True).start() if sys.argv[1] == "busy" else None
time.sleep(1)
threading.Thread(target=last).start()
atexit.register(print, "atexit")
print("said")
leave(7)
"""


def end(how: str) -> tuple[int, list[str], str, float]:
    """Exit status, lines, what was on stderr, and how long the end took."""
    began = time.monotonic()
    command = [sys.executable, "-c", PROGRAM, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr, time.monotonic() - began


def test_nobody_waits_for_a_network_and_all_else_is_as_ever() -> None:
    code, said, errors, ordinary_s = end("idle")
    assert (code, said, errors) == (7, ["said", "waited for", "atexit"], "")
    code, said, errors, took_s = end("busy")
    assert (code, said, errors) == (7, ["said", "waited for", "atexit"], "")
    # The picture alone would take 600 times a tenth of a second and more.
    assert took_s < ordinary_s + 20
