"""Who may see the page: this machine alone, or whoever knows the token; and no other page in the same browser.

Three things are checked. The Host header, as a page of somebody else may point a name of its own at 127.0.0.1 (DNS
rebinding). The token, from the first link, then from a cookie or a header. The Origin of everything that is posted."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from streamsr.errors import ConfigError

LEAST_TOKEN = 12
"""Letters."""
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Permissions-Policy": "camera=(self), fullscreen=(self), microphone=(), geolocation=(), display-capture=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
WITHOUT_TOKEN = "Open the whole link that the program printed when it started: it holds the token."

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """The rules for a server that listens on `host`. `token` None: one is made where the interface asks for it.

    Raises ConfigError for a token that is too short or not plain."""

    def __init__(self, host: str, token: str | None) -> None:
        if token is not None and (len(token) < LEAST_TOKEN or not (token.isascii() and token.isprintable())):
            raise ConfigError(
                "this token is too easy to guess or to mistype",
                where="--token",
                remedy=f"Write at least {LEAST_TOKEN} plain letters and digits, or leave it out: one is made.",
            )
        self._names = {"localhost"}
        self._only_here = is_loopback(host)
        if not self._only_here:
            own = socket.gethostname().lower()
            self._names |= {host.lower(), own, f"{own}.local"}
            token = token or secrets.token_urlsafe(24)
        self.token = token
        """None: everybody on this machine may look."""
        self._session = secrets.token_urlsafe(24)
        # Cookies know no ports: two previews on one machine must not overwrite each other's.
        digest = hashlib.sha256(self._session.encode()).hexdigest()
        self._cookie = f"streamsr-{digest[:8]}"

    def allows_host(self, header: str) -> bool:
        """A literal address cannot be rebound; names must be our own. Ports are not looked at: tunnels change them."""
        name = urlsplit(f"//{header}").hostname or "" if _is_plain(header) else ""
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return address.is_loopback or not self._only_here

    def knows(self, request: web.Request) -> bool:
        """Whether the request shows the token, or the cookie that was given for it."""
        if self.token is None:
            return True
        cookie = request.cookies.get(self._cookie, "")
        scheme, _, word = request.headers.get("Authorization", "").partition(" ")
        return _equal(cookie, self._session) or (scheme.lower() == "bearer" and _equal(word, self.token))

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuses what is not allowed, and gives every answer its headers."""
        try:
            response = self._refusal(request) or await handler(request)
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=error.text)
        response.headers.update(HEADERS)
        return response

    def _refusal(self, request: web.Request) -> web.StreamResponse | None:
        if not self.allows_host(request.headers.get("Host", "")):
            return web.Response(status=403, text="This name is not the server's own; use its address or localhost.")
        if not self.knows(request):
            return self._first_visit(request) or web.Response(status=401, text=WITHOUT_TOKEN)
        if request.method not in ("GET", "HEAD") and not is_same_origin(request):
            return web.Response(status=403, text="Only the server's own page may do this.")
        return None

    def _first_visit(self, request: web.Request) -> web.StreamResponse | None:
        """The token leaves the address bar, and the history with it, for a cookie. Lax, not strict: a link that is
        opened from a chat would lose a strict cookie in the redirection."""
        given = request.query.get("token", "")
        if request.method != "GET" or request.path != "/" or self.token is None or not _equal(given, self.token):
            return None
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="Lax", path="/")
        return response


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_same_origin(request: web.Request) -> bool:
    """Whether the page that sends this is ours. Browsers always say where a POST comes from."""
    origin = urlsplit(request.headers.get("Origin", ""))
    return origin.scheme in ("http", "https") and origin.netloc.lower() == request.headers.get("Host", "").lower()


def _equal(given: str, wanted: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())


def _is_plain(header: str) -> bool:
    """urlsplit raises for odd brackets, and would take a user name."""
    return all(char.isalnum() or char in ".-_:[]" for char in header) and header.count("[") == header.count("]") <= 1
