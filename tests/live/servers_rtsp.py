"""A real RTSP server: gst-rtsp-server, which plays, takes what is published, and serves it on."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.live.server_process import ServerProcess, free_port

PYTHON = "/usr/bin/python3"
RELAY = Path(__file__).with_name("rtsp_relay.py")
SAMPLES = Path(__file__).resolve().parents[2] / "samples"


class RtspServer(ServerProcess):
    """`url(path)` for /live, /file, /pub, /pubv, /pub_play, /pubv_play, with the user and password that it wants."""

    def __init__(self, clip: Path | None, user: str | None, password: str | None) -> None:
        self.port = free_port()
        self._login = f"{quote(user, safe='')}:{quote(password or '', safe='')}@" if user else ""
        env = {"PYTHONPATH": str(SAMPLES), "STREAMSR_RTSP_USER": user or "", "STREAMSR_RTSP_PASSWORD": password or ""}
        super().__init__(self._command_for(clip), "ready", env=env)

    def serve(self, clip: Path | None) -> None:
        """Restarted with another clip, as a camera that was set up anew."""
        self._command = self._command_for(clip)
        self.restart()

    def _command_for(self, clip: Path | None) -> list[str]:
        return [PYTHON, str(RELAY), str(self.port), *([str(clip.absolute())] if clip else [])]

    def url(self, path: str = "/live", *, login: str | None = None) -> str:
        """`login`: "user:password@" or "" instead of the right one."""
        return f"rtsp://{self._login if login is None else login}127.0.0.1:{self.port}{path}"


@functools.cache
def _why_not() -> str:
    """Why the server cannot run here, "" if it can."""
    code = (
        "import gi\nfor name in 'Gst GstApp GstRtsp GstRtspServer'.split(): gi.require_version(name, '1.0')\n"
        "from gi.repository import Gst\nGst.init(None)\n"
        "for name in 'parsebin x264enc avenc_aac rtph264pay'.split(): assert Gst.ElementFactory.find(name), name"
    )
    try:
        done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip() or "it ended").splitlines()[-1]


@contextmanager
def rtsp_server(
    clip: Path | None = None, *, user: str | None = None, password: str | None = None
) -> Iterator[RtspServer]:
    """A server on a free port of 127.0.0.1. `clip`: what /live loops and /file plays; without it /live is a ball."""
    if why := _why_not():
        pytest.skip(f"no RTSP server ({why}); .ci/install-live.sh installs it")
    with RtspServer(clip, user, password) as server:
        yield server
