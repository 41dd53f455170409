"""Devices that a machine without a screen or a camera has not: an X display by Xvfb, /dev/video0 by PipeWire."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.live.server_process import ServerProcess, needed

CAMERA = "fakecam"


@contextmanager
def xvfb(width: int = 1280, height: int = 720) -> Iterator[str]:
    """The name of an X display of its own, as ":3". No window manager runs in it."""
    needed("Xvfb")
    # It chooses a free number itself and says it when it can be used.
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp", "-noreset"]
    said = re.compile(r"^(\d+)\n", re.MULTILINE)
    server = ServerProcess(command, lambda: said.search(server.log) is not None)
    with server:
        number = said.search(server.log)
        assert number is not None
        yield f":{number[1]}"


@dataclass(frozen=True)
class Camera:
    """A camera that programs see as /dev/video0 when they are started with `env`. Raw YUY2 only. Each opening needs a
    picture source of its own: `source.restart()` before a second one. `source.stall()` freezes it."""

    env: dict[str, str]
    source: ServerProcess


@contextmanager
def v4l2_camera(width: int = 320, height: int = 240, rate: int = 30) -> Iterator[Camera]:
    """PipeWire with one camera, and the library that answers V4L2 calls for it."""
    needed("dbus-daemon", "pipewire", "wireplumber", "gst-launch-1.0", "pw-v4l2", "pw-cli")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="streamsr-camera-"))
        bus = f"unix:path={folder}/bus"
        env = {"XDG_RUNTIME_DIR": folder, "HOME": folder, "DBUS_SESSION_BUS_ADDRESS": bus}
        command = ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address", f"--address={bus}"]
        stack.enter_context(ServerProcess(command, "unix:path", env=env))
        stack.enter_context(ServerProcess(["pipewire"], lambda: Path(folder, "pipewire-0").exists(), env=env))
        stack.enter_context(ServerProcess(["wireplumber"], lambda: "WirePlumber" in _nodes("Client", env), env=env))
        source = [
            *("gst-launch-1.0", "-q", "videotestsrc", "is-live=true", "pattern=smpte", "!"),
            *(f"video/x-raw,format=YUY2,width={width},height={height},framerate={rate}/1", "!"),
            *("pipewiresink", "mode=provide"),
            f"stream-properties=p,media.class=Video/Source,node.name={CAMERA},media.role=Camera",
        ]
        pictures = stack.enter_context(ServerProcess(source, lambda: CAMERA in _nodes("Node", env), env=env))
        yield Camera({**env, "LD_PRELOAD": _shim(env)}, pictures)


def _nodes(kind: str, env: dict[str, str]) -> str:
    command = ["pw-cli", "ls", kind]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout


def _shim(env: dict[str, str]) -> str:
    """What pw-v4l2 preloads into the program that it starts."""
    command = ["pw-v4l2", "printenv", "LD_PRELOAD"]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()
