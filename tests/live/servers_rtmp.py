"""Real peers of other protocols: RTMP by node-media-server, SRT by srt-live-transmit, MPEG-TS over UDP by ffmpeg."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.live.server_process import ServerProcess, free_port, is_open, needed

NODE = "STREAMSR_LIVE_NODE"


class RtmpServer(ServerProcess):
    """Takes a publish at `url` and serves it there, and over HTTP as FLV at `http_flv_url`."""

    def __init__(self, program: Path, data: Path) -> None:
        self.port, self.http_port = free_port(), free_port()
        command = [
            *("node", str(program), "-b", "127.0.0.1", "--no-admin", "--data-path", str(data)),
            *("--rtmp-port", str(self.port), "--http-port", str(self.http_port)),
        ]
        super().__init__(command, lambda: is_open(self.port) and is_open(self.http_port), cwd=data)

    @property
    def url(self) -> str:
        return f"rtmp://127.0.0.1:{self.port}/live/cam"

    @property
    def http_flv_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/live/cam.flv"


@contextmanager
def rtmp_server() -> Iterator[RtmpServer]:
    """node-media-server on free ports of 127.0.0.1."""
    needed("node")
    folder = os.environ.get(NODE)
    program = Path(folder or ".", "node_modules/node-media-server/bin/app.js")
    if folder is None or not program.is_file():
        pytest.skip(f"set {NODE} to a folder in which .ci/install-live.sh has installed node-media-server")
    with tempfile.TemporaryDirectory(prefix="streamsr-rtmp-") as data, RtmpServer(program, Path(data)) as server:
        yield server


class SrtBridge(ServerProcess):
    """srt-live-transmit between an SRT peer at `url` and UDP at `udp_url`."""

    def __init__(self, source: str, target: str, url: str, udp_url: str) -> None:
        self.url, self.udp_url = url, udp_url
        super().__init__(["srt-live-transmit", "-a:yes", "-loglevel:note", source, target], lambda: True)


@contextmanager
def srt_listener() -> Iterator[SrtBridge]:
    """Takes SRT callers at `url`; what they send can be read at `udp_url`."""
    needed("srt-live-transmit")
    srt, udp = f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}", f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    with SrtBridge(f"{srt}?mode=listener", udp, f"{srt}?mode=caller", udp) as bridge:
        yield bridge


@contextmanager
def srt_caller() -> Iterator[SrtBridge]:
    """Calls `url`, where somebody else listens, for what he sends; it can be read at `udp_url`."""
    needed("srt-live-transmit")
    srt, udp = f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}", f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    with SrtBridge(f"{srt}?mode=caller", udp, f"{srt}?mode=listener", udp) as bridge:
        yield bridge


@contextmanager
def udp_sender(clip: Path, udp_url: str) -> Iterator[ServerProcess]:
    """Sends the clip in an endless loop as MPEG-TS, at its own pace, whether somebody listens or not."""
    needed("ffmpeg")
    command = [
        *("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "info", "-stats_period", "0.1", "-re"),
        *("-stream_loop", "-1", "-i", str(clip), "-c", "copy", "-f", "mpegts", f"{udp_url}?pkt_size=1316"),
    ]
    with ServerProcess(command, "frame=") as sender:
        yield sender


@contextmanager
def srt_source(clip: Path) -> Iterator[SrtBridge]:
    """Gives the clip in an endless loop to whoever calls `url`."""
    needed("srt-live-transmit")
    srt, udp = f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}", f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    with ExitStack() as stack:
        bridge = stack.enter_context(SrtBridge(udp, f"{srt}?mode=listener", f"{srt}?mode=caller", udp))
        stack.enter_context(udp_sender(clip, udp))
        yield bridge
