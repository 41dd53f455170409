"""SRT through the program srt-live-transmit, as the FFmpeg of PyAV speaks no SRT.

The program takes addresses on its command line only, where other users of the machine could read a passphrase. On Linux
it is overwritten there as soon as the program has read it, which is milliseconds after its start, unless the kernel
forbids even parents to do that (kernel.yama.ptrace_scope above 1)."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO
from urllib.parse import parse_qs, urlsplit

from streamsr.errors import ConfigError, SinkError

PROGRAM = "srt-live-transmit"
TS_BYTES = 1316
END_S = 1.0
_CONNECTED = b"target connected"
_REMEDY = "Install it (Debian: srt-tools, macOS: brew install srt), or use another protocol."


@dataclass(frozen=True, slots=True)
class SrtBridge:
    """A running srt-live-transmit. `url`: what FFmpeg opens instead of the srt:// address."""

    url: str
    is_listener: bool
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def alive(self) -> bool:
        return self.process.poll() is None

    def last_words(self) -> str:
        """The last line that the program wrote; it may hold the address."""
        lines = self._read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    def wait_connected(self, timeout_s: float) -> bool:
        """Whether the other side has answered; a listener does not wait for one."""
        deadline = time.monotonic() + timeout_s
        while not self.is_listener and _CONNECTED not in self._read():
            if not self.alive() or time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return self.alive()

    def _read(self) -> bytes:
        return os.pread(self.log.fileno(), 1 << 16, max(0, os.fstat(self.log.fileno()).st_size - (1 << 16)))


def check_srt() -> None:
    """Raises ConfigError where the program is missing."""
    if shutil.which(PROGRAM) is None:
        raise ConfigError(f"SRT needs the program {PROGRAM}, which is not installed", where="srt://", remedy=_REMEDY)


def check_srt_output(url: str) -> None:
    """What can be known before anything starts. Raises ConfigError as `check_srt`, SinkError where another program has
    the port to listen on."""
    check_srt()
    parts = urlsplit(url)
    if not is_srt_listener(url) or parts.port is None:
        return
    host = parts.hostname or "0.0.0.0"
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((host, parts.port))
    except OSError as error:
        what = f"cannot listen for SRT callers: {error.strerror}"
        raise SinkError(what, where=f"{host}:{parts.port}", remedy="Choose another port.") from error


def is_srt_listener(url: str) -> bool:
    """Whether the address waits for others to connect, which one without a host does too."""
    parts = urlsplit(url)
    mode = parse_qs(parts.query).get("mode", [""])[0]
    return mode == "listener" or (not mode and not parts.hostname)


@contextlib.contextmanager
def srt_output(url: str) -> Iterator[SrtBridge]:
    """Sends what is written to the bridge's `url`, MPEG-TS, to `url`. A caller's process ends when the other side is
    gone; a listener's goes on waiting.

    The process ends with the block, and on Linux with the thread that entered it. Raises ConfigError."""
    reader, writer = os.pipe()
    try:
        with _bridge("file://con", url, f"pipe:{writer}", reader, listener=is_srt_listener(url)) as bridge:
            os.close(reader)
            reader = -1
            yield bridge
    finally:
        for descriptor in (reader, writer):
            if descriptor >= 0:
                os.close(descriptor)


@contextlib.contextmanager
def srt_input(url: str) -> Iterator[SrtBridge]:
    """Gives what comes from `url` at the bridge's `url`, which is to be opened for reading as MPEG-TS.

    As `srt_output`: a caller's process ends when the other side is gone."""
    port = _free_udp_port()
    local = f"udp://127.0.0.1:{port}"
    with _bridge(url, local, f"{local}?fifo_size=50000&overrun_nonfatal=1", None, listener=is_srt_listener(url)) as it:
        yield it


@contextlib.contextmanager
def _bridge(source: str, target: str, url: str, stdin: int | None, *, listener: bool) -> Iterator[SrtBridge]:
    check_srt()
    command = [PROGRAM, "-v", f"-a:{'yes' if listener else 'no'}", f"-c:{TS_BYTES}", source, target]
    if sys.platform == "linux" and shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.DEVNULL,
            stderr=log,
            process_group=0,
        )
        try:
            bridge = SrtBridge(url, listener, process, log)
            _hide_arguments(bridge)
            yield bridge
        finally:
            _end(process)


def _hide_arguments(bridge: SrtBridge) -> None:
    """Overwrites the program's command line once it has said its first words, and so has read it."""
    if sys.platform != "linux":
        return
    deadline = time.monotonic() + 2.0
    while not bridge.last_words() and bridge.alive() and time.monotonic() < deadline:
        time.sleep(0.002)
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{bridge.process.pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
        begin, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, see proc(5)
        name = PROGRAM.encode()[: end - begin - 1]
        with open(f"/proc/{bridge.process.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(begin)
            memory.write(name.ljust(end - begin, b"\0"))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
