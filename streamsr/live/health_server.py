"""/status, /metrics and /health over HTTP, for monitoring: small answers, bounded in threads and time."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from streamsr.errors import ConfigError, SinkError
from streamsr.live.metrics import CONTENT_TYPE, prometheus
from streamsr.live.stats import StreamStatus
from streamsr.live.status import problems, to_json

LOOPBACK = "127.0.0.1"
_LISTEN = re.compile(r"(?:(\[[\w:.%]+\]|[\w.-]*):)?([0-9]{1,5})")
MAX_CONNECTIONS = 16
READ_TIMEOUT_S = 5.0
_HERE = ("localhost", LOOPBACK, "::1")

Read = Callable[[], Sequence[StreamStatus]]


def parse_listen(text: str) -> tuple[str, int]:
    """(host, port) of "HOST:PORT", "[::1]:PORT", or ":PORT" and "PORT", which mean the loopback: other machines are
    let in only by an address that is written down. Raises ConfigError."""
    match = _LISTEN.fullmatch(text.strip())
    if match is None or int(match[2]) > 65535:
        raise ConfigError("not an address to listen on", where=text, remedy="Write HOST:PORT, as 127.0.0.1:9180.")
    return (match[1] or LOOPBACK).strip("[]"), int(match[2])


class HealthServer:
    """`read` is called in the server's threads, once for each request. `start` binds and returns; `close` ends it
    within about a second and may be called twice."""

    def __init__(self, listen: str, read: Read) -> None:
        self._listen, self._read = listen, read
        self._host, self._port = parse_listen(listen)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Of the running server, with the port that it got where 0 was asked for."""
        port = self._server.server_address[1] if self._server is not None else self._port
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{port}"

    def start(self) -> None:
        """Raises SinkError where the address cannot be had."""
        try:
            self._server = _Server((self._host, self._port), self._read)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            what = "the port is in use" if taken else f"cannot listen: {error.strerror or error}"
            remedy = "Choose another one with --status-listen HOST:PORT."
            raise SinkError(what, where=self._listen, remedy=remedy) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="health-server", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        server, thread, self._server = self._server, self._thread, None
        if server is None or thread is None:
            return
        self._port = int(server.server_address[1])
        server.shutdown()
        server.server_close()
        server.cut_all()
        thread.join(2.0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # with five, as http.server has it, a burst of connections waits for seconds

    def __init__(self, address: tuple[str, int], read: Read) -> None:
        self.read = read
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._open: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the name server who we are, which can take half a minute.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Where too many are connected the oldest goes: whoever sends nothing cannot keep the others out."""
        with self._lock:
            self._open[request] = None
            oldest = next(iter(self._open)) if len(self._open) > MAX_CONNECTIONS else None
        if oldest is not None:
            self._cut(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        """Ends every connection, so that no thread waits for one."""
        with self._lock:
            waiting = list(self._open)
        for request in waiting:
            self._cut(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is nobody's concern."""

    @staticmethod
    def _cut(request: socket.socket) -> None:
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = READ_TIMEOUT_S
    server_version, sys_version = "streamsr", ""

    def do_GET(self) -> None:
        code, kind, text = self._answer(self.path.partition("?")[0])
        body = text.encode("utf-8", "replace")
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def _is_meant(self) -> bool:
        """On the loopback only its own names are answered: a page of somebody else can point a name of its own at this
        machine and read what a browser here gets (DNS rebinding)."""
        asked = re.sub(r":\d+$", "", self.headers.get("Host", LOOPBACK)).strip("[]").lower()
        return self.server.server_address[0] not in _HERE or asked in _HERE

    def log_message(self, format: str, *args: Any) -> None:
        """Monitoring asks every few seconds: not worth a line."""

    def _answer(self, path: str) -> tuple[int, str, str]:
        plain = "text/plain; charset=utf-8"
        if not self._is_meant():
            return 403, plain, "ask for localhost\n"
        if path not in ("/status", "/metrics", "/health"):
            return 404, plain, "there are /status, /metrics and /health\n"
        try:
            statuses = self.server.read()
            if path == "/status":
                return 200, "application/json", json.dumps(to_json(statuses), indent=1) + "\n"
            if path == "/metrics":
                return 200, CONTENT_TYPE, prometheus(statuses)
            faults = problems(statuses)
            return (503 if faults else 200), plain, "\n".join(faults or ["ok"]) + "\n"
        except Exception as error:  # a fault of ours must be an answer too, and its text may hold anything
            return 500, plain, f"the status could not be read: {type(error).__name__}\n"
