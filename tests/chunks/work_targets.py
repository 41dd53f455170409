"""What the workers of the tests do. Imported by their processes, so it imports little."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamsr.chunks.executor import Place, Work
from streamsr.errors import ConfigError, SinkError, SourceError

Tell = Callable[[int], None]


@contextmanager
def open_diary(setup: dict[str, Any], place: Place) -> Iterator[Work]:
    """Work on payloads like {"do": "square", "number": 3}. `setup["folder"]` gets one line per opening, per attempt and
    per end, so that tests can count what really happened."""
    diary = Path(setup["folder"]) / "diary"

    def note(*words: object) -> None:
        with diary.open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")

    def work(payload: dict[str, Any], tell: Tell) -> Any:
        note("begin", payload["do"], payload.get("number", ""), os.getpid())
        result = ACTIONS[payload["do"]](payload, tell, place)
        note("end", payload["do"], payload.get("number", ""), os.getpid())
        return result

    note("open", place.worker, os.getpid())
    if setup.get("fails") == "raise":
        raise ConfigError("the setup is wrong", where="setup", remedy="Change it")
    if setup.get("fails") == "crash":
        sys.stderr.write("no such library\n")
        sys.stderr.flush()
        os._exit(3)
    yield work
    note("close", place.worker, os.getpid())


def square(payload: dict[str, Any], tell: Tell, place: Place) -> int:
    for frames in range(1, payload.get("steps", 1) + 1):
        time.sleep(payload.get("step_s", 0.0))
        tell(frames)
    number: int = payload["number"]
    return number * number


def where(payload: dict[str, Any], tell: Tell, place: Place) -> dict[str, Any]:
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    chosen = {name: os.environ.get(name) for name in names}
    return {"device": place.device, "threads": place.threads, "pid": os.getpid(), **chosen}


def fail(payload: dict[str, Any], tell: Tell, place: Place) -> None:
    kinds = {
        "source": SourceError("the film is torn", where="film.mp4", remedy="Get another"),
        "config": ConfigError("a wrong key", where="here"),
        "value": ValueError("two\nlines"),
    }
    if payload["how"] == "full":
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise SinkError("the disk is full", where="part.nut") from error
    raise kinds[payload["how"]]


def fail_once(payload: dict[str, Any], tell: Tell, place: Place) -> str:
    """Fails in the way `how` as long as the file `mark` is not there, and makes it."""
    mark = Path(payload["mark"])
    if mark.exists():
        return "done at last"
    mark.touch()
    tell(1)
    if payload["how"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if payload["how"] == "hang":
        ctypes.PyDLL(None).sleep(600)  # keeps the interpreter's lock: no thread of this process runs any more
    raise RuntimeError("not the first time")


def wait_for(payload: dict[str, Any], tell: Tell, place: Place) -> str:
    """Until the file `until` is there, or for ever."""
    Path(payload["begun"]).write_text(str(os.getpid()))
    while not Path(payload["until"]).exists():
        time.sleep(0.02)
    return "waited"


def burn(payload: dict[str, Any], tell: Tell, place: Place) -> str:
    """Says nothing for `seconds` while a child of its own is busy, as an encoder is."""
    import subprocess

    code = f"import time\nend = time.monotonic() + {payload['seconds']}\nwhile time.monotonic() < end: pass"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    return "burnt"


def copy(payload: dict[str, Any], tell: Tell, place: Place) -> int:
    """Writes the input, reversed, to the output; both where the place has them."""
    data = Path(place.here(payload["input"])).read_bytes()[::-1]
    return Path(place.here(payload["output"])).write_bytes(data)


ACTIONS: dict[str, Callable[[dict[str, Any], Tell, Place], Any]] = {
    action.__name__: action for action in (square, where, fail, fail_once, wait_for, burn, copy)
}
