"""Real peers over HTTP: a WHIP endpoint by aiortc, a file server; and a server that never says anything."""

from __future__ import annotations

import importlib.util
import json
import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.server_process import ServerProcess, free_port, is_open

RECEIVER = Path(__file__).with_name("whip_receiver.py")
ANSWER_S = 5.0


class WhipReceiver(ServerProcess):
    """Takes WHIP at `url` (http://...) and counts what it could decode, since it was started."""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/whip"
        super().__init__([sys.executable, str(RECEIVER), str(self._port)], "ready")

    @property
    def frames_seen(self) -> int:
        return int(self._seen()["video"])

    @property
    def audio_seen(self) -> int:
        return int(self._seen()["audio"])

    @property
    def size_seen(self) -> str:
        """Of the last picture, as "320x180"."""
        return str(self._seen()["size"])

    def _seen(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/seen", timeout=ANSWER_S) as answer:
            seen: dict[str, Any] = json.load(answer)
        return seen


@contextmanager
def whip_receiver() -> Iterator[WhipReceiver]:
    if importlib.util.find_spec("aiortc") is None or importlib.util.find_spec("aiohttp") is None:
        pytest.skip("not installed: aiortc, aiohttp; pip install -e .[web]")
    with WhipReceiver() as receiver:
        yield receiver


class FileServer(ServerProcess):
    """Serves a folder; `url(name)` is the address of a file in it."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        command = [*(sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder))]
        super().__init__([*command, str(self._port)], lambda: is_open(self._port))

    def url(self, name: str = "") -> str:
        return f"http://127.0.0.1:{self._port}/{name}"


@contextmanager
def http_server(folder: Path) -> Iterator[FileServer]:
    with FileServer(folder) as server:
        yield server


@contextmanager
def mute_server() -> Iterator[int]:
    """The port of a server that takes every connection and says nothing, for ever."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)  # the kernel completes the connections; nobody ever accepts them
        yield int(server.getsockname()[1])
