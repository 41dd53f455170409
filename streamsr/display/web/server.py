"""The web server of the preview: the page, its state, and the handshake of each viewer. What is shown is decided by the
`Desk` that it is given."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from streamsr.display.web.guard import Guard
from streamsr.errors import ConfigError, SinkError

PAGE = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js", "/peer.js": "peer.js"}
CONTENT_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
MOST_BYTES = 64 * 1024
"""Of a request; an offer takes about 4 KB."""
ANSWER_S = 15.0


class Refused(Exception):
    """What the desk cannot do for this viewer: `text` is shown on the page, `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Desk(Protocol):
    """Who takes care of the viewers. Called on the server's event loop."""

    def state(self) -> Mapping[str, Any]:
        """What the page wants to know before it connects, as JSON."""

    async def answer(self, sdp: str, shows: str, codec: str) -> Mapping[str, str]:
        """A viewer's offer, who wants to see `shows` ("camera": his own, "source": the server's): the answer as
        {"sdp", "peer"}. `codec`: "vp8" if it must be that one. Raises Refused."""

    async def leave(self, peer: str) -> None:
        """The viewer closes his page. A name that is not known is no error."""


class WebServer:
    """Serves `desk` on `listen` (HOST:PORT, port 0 takes a free one) to whom `Guard` lets in.

    Raises ConfigError for a bad address or token."""

    def __init__(self, listen: str, token: str | None, desk: Desk) -> None:
        self._host, self._port = parse_listen(listen)
        self._desk = desk
        self._guard = Guard(self._host, token)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The link to open; with the token, where there is one. For the eyes of whoever started the program."""
        host = {"0.0.0.0": own_address(), "::": own_address()}.get(self._host, self._host)
        host = f"[{host}]" if ":" in host else host
        query = f"?token={self._guard.token}" if self._guard.token else ""
        return f"http://{host}:{self._port}/{query}"

    async def start(self) -> None:
        """Raises SinkError where nothing can be served there."""
        app = web.Application(middlewares=[self._guard.middleware], client_max_size=MOST_BYTES)
        app.add_routes([web.get(path, self._page) for path in PAGE])
        app.add_routes(
            [web.get("/state", self._state), web.post("/offer", self._offer), web.post("/leave", self._leave)]
        )
        # No access log: the first link has the token in it.
        runner = self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await self.close()
            raise _as_listen_error(error, f"{self._host}:{self._port}") from error
        self._port = runner.addresses[0][1]

    async def close(self) -> None:
        """Idempotent. Open requests are cut off."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _page(self, request: web.Request) -> web.StreamResponse:
        name = PAGE[request.path]
        text = (Path(__file__).parent / name).read_text("utf-8")
        return web.Response(text=text, content_type=CONTENT_TYPES[Path(name).suffix])

    async def _state(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._desk.state())

    async def _offer(self, request: web.Request) -> web.StreamResponse:
        words = await _json_of(request)
        try:
            wishes = (words.get(name, "") for name in ("sdp", "shows", "codec"))
            answer = await asyncio.wait_for(self._desk.answer(*wishes), ANSWER_S)
        except Refused as error:
            return web.Response(status=error.status, text=error.text)
        except TimeoutError:
            return web.Response(status=504, text=f"The server could not connect within {ANSWER_S:.0f} s; try again.")
        return web.json_response(answer)

    async def _leave(self, request: web.Request) -> web.StreamResponse:
        await self._desk.leave((await _json_of(request)).get("peer", ""))
        return web.Response(status=204)


def parse_listen(text: str) -> tuple[str, int]:
    """(host, port) from "127.0.0.1:8080", "[::1]:8080" or "8080" (then this machine only). Raises ConfigError."""
    host, _, port = text.strip().rpartition(":")
    host = host or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) < 65536) or " " in host:
        raise ConfigError("not an address to listen on", where=text, remedy="Write HOST:PORT, as 127.0.0.1:8080.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def own_address() -> str:
    """A name under which others may reach this machine."""
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "localhost")


async def _json_of(request: web.Request) -> dict[str, str]:
    """The texts of a JSON object; nothing else gets through."""
    words: Any = None
    with contextlib.suppress(ValueError):
        words = await request.json()
    if not isinstance(words, dict):
        raise web.HTTPBadRequest(text="This is no message of the page.")
    return {str(key): value for key, value in words.items() if isinstance(value, str)}


def _as_listen_error(error: OSError, where: str) -> SinkError:
    """In our words."""
    remedy = "Choose another with --listen HOST:PORT; port 0 takes a free one."
    if error.errno == errno.EADDRINUSE:
        return SinkError("the port is in use", where=where, remedy=remedy)
    if error.errno in (errno.EACCES, errno.EPERM):
        return SinkError("may not listen on this port", where=where, remedy=remedy)
    if error.errno == errno.EADDRNOTAVAIL or error.errno is None or error.errno < 0:
        return SinkError("this machine has no such address", where=where, remedy=remedy)
    return SinkError(f"cannot listen: {error.strerror or error}", where=where, remedy=remedy)
