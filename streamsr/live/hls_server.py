"""Serves HLS folders over HTTP, each with a small player page. Streams that name the same HOST:PORT share a server."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from streamsr.errors import SinkError
from streamsr.live.health_server import parse_listen
from streamsr.live.hls_folder import HlsFolder
from streamsr.runtime.gate import Gate

REQUEST_S = 10.0
"""A viewer that takes nothing for so long is let go."""
MOST_VIEWERS = 256
"""Requests at one time."""
_CHUNK = 1 << 16
_TYPES = {".m3u8": "application/vnd.apple.mpegurl", ".m4s": "video/iso.segment", ".mp4": "video/mp4"}
# The page needs nothing from elsewhere, and may ask nobody else.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self';"
    " media-src 'self' blob:; img-src data:"
)
_ACCEPT_S = 0.2


class HlsServer:
    """One folder at `url`, from `start` to `close`. `listen` is HOST:PORT; port 0 means any.

    Whoever can reach HOST:PORT can watch. Only files of ours are served, and the player page."""

    def __init__(self, folder: HlsFolder, listen: str) -> None:
        self._folder, self._listen = folder, listen
        self._site: _Site | None = None
        self.url = ""

    def start(self, gate: Gate) -> None:
        """Raises ConfigError, SinkError as `check_listen`; Cancelled when the job has ended meanwhile."""
        gate.check()
        address = parse_listen(self._listen)
        with _sites_lock:
            site = _sites.get(address) if address[1] else None
            if site is None:
                site = _Site(address)
                _sites[site.address] = site
            name = site.add(self._folder)
        self._site, self.url = site, f"{site.url}/{quote(name)}/"

    def close(self) -> None:
        """The last one of an address ends the server. Can be called again."""
        site, self._site = self._site, None
        if site is None:
            return
        with _sites_lock:
            site.remove(self._folder)
            if site.folders:
                return
            _sites.pop(site.address, None)
        site.close()


def check_listen(listen: str) -> None:
    """Raises ConfigError where `listen` is no address, SinkError where nothing can be served there."""
    address = parse_listen(listen)
    with _sites_lock:
        if address in _sites:
            return
    try:
        with socket.create_server(address, family=_family(address[0])):
            pass
    except OSError as error:
        raise _cannot_serve(address, error) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _cannot_serve(address: tuple[str, int], error: OSError) -> SinkError:
    where = f"{address[0]}:{address[1]}"
    remedy = "Choose another --listen, or end the program that has it."
    return SinkError(f"cannot serve there: {error.strerror}", where=where, remedy=remedy)


class _Site:
    """One listening socket and the folders behind it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.folders: dict[str, HlsFolder] = {}
        try:
            self._server = _Server(address, self)
        except OSError as error:
            raise _cannot_serve(address, error) from error
        self.address = (address[0], int(self._server.server_address[1]))
        host = f"[{self.address[0]}]" if ":" in self.address[0] else self.address[0]
        self.url = f"http://{host}:{self.address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_ACCEPT_S,), name="hls.serve", daemon=True
        )
        self._thread.start()

    def add(self, folder: HlsFolder) -> str:
        """The name under which it is found: that of the folder, with a number where two are alike."""
        wanted = name = folder.folder.name or "live"
        number = 1
        while name in self.folders:
            number += 1
            name = f"{wanted}-{number}"
        self.folders = self.folders | {name: folder}
        return name

    def remove(self, folder: HlsFolder) -> None:
        self.folders = {name: other for name, other in self.folders.items() if other is not folder}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(REQUEST_S)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], site: _Site) -> None:
        self.site = site
        self._room = threading.BoundedSemaphore(MOST_VIEWERS)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.address_family = _family(address[0])
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without the look-up of the own name, which may take long."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.discard(request)
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A viewer that goes away is no error."""

    def server_close(self) -> None:
        with self._lock:
            waiting = list(self._open)
        for request in waiting:
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
        super().server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_S
    server: _Server

    def do_GET(self) -> None:
        self._answer(is_head=False)

    def do_HEAD(self) -> None:
        self._answer(is_head=True)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""

    def version_string(self) -> str:
        return "streamsr"

    def _answer(self, *, is_head: bool) -> None:
        folders = self.server.site.folders
        name, _, file = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        if not name:
            self._send(_start_page(folders), "text/html; charset=utf-8", is_head=is_head)
        elif name not in folders:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif not file and not urlsplit(self.path).path.endswith("/"):
            self.send_response(HTTPStatus.MOVED_PERMANENTLY)
            self.send_header("Location", f"/{quote(name)}/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif not file:
            self._send(_player_page(folders[name]), "text/html; charset=utf-8", is_head=is_head)
        else:
            self._send_file(folders[name], file, is_head=is_head)

    def _send_file(self, folder: HlsFolder, name: str, *, is_head: bool) -> None:
        path = folder.folder / name
        if not folder.is_ours(name) or path.suffix not in _TYPES or path.is_symlink():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            content = path.read_bytes()
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self._send(content, _TYPES[path.suffix], is_head=is_head)

    def _send(self, content: bytes, kind: str, *, is_head: bool) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        # Segments never change, but nobody asks for one twice either.
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if kind.startswith("text/html"):
            self.send_header("Content-Security-Policy", _POLICY)
        else:
            self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        if is_head:
            return
        for begin in range(0, len(content), _CHUNK):
            self.wfile.write(content[begin : begin + _CHUNK])


def _start_page(folders: dict[str, HlsFolder]) -> bytes:
    links = "".join(f'<li><a href="/{quote(name)}/">{_escaped(name)}</a></li>' for name in folders)
    return f"<!doctype html><meta charset=utf-8><title>streamsr</title><h1>Streams</h1><ul>{links}</ul>".encode()


def _player_page(folder: HlsFolder) -> bytes:
    page = resources.files("streamsr.live").joinpath("player.html").read_text("utf-8")
    return (
        page.replace("@PLAYLIST@", quote(folder.playlist.name))
        .replace("@TITLE@", _escaped(folder.folder.name))
        .encode()
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


_sites: dict[tuple[str, int], _Site] = {}
_sites_lock = threading.Lock()
