"""Who the preview's web server lets in, and what it answers; real requests over loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="needs the extra web")

from streamsr.display.web import server as web_server  # noqa: E402
from streamsr.display.web.guard import Guard  # noqa: E402
from streamsr.display.web.server import Refused, WebServer, parse_listen  # noqa: E402
from streamsr.errors import ConfigError, SinkError  # noqa: E402

TOKEN = "correct-horse-battery"


class FakeDesk:
    def __init__(self) -> None:
        self.left: list[str] = []

    def state(self) -> Mapping[str, Any]:
        return {"source": None}

    async def answer(self, sdp: str, shows: str, codec: str) -> Mapping[str, str]:
        if shows == "hang":
            await asyncio.sleep(60)
        if shows == "source":
            raise Refused(503, "no room")
        return {"sdp": f"answer to {sdp}", "peer": "p1"}

    async def leave(self, peer: str) -> None:
        self.left.append(peer)


class Browser:
    """Requests to a running server, with a cookie jar that keeps cookies of addresses too."""

    def __init__(self, session: Any, server: WebServer) -> None:
        self.session, self.server = session, server
        self.origin = server.url.partition("?")[0].removesuffix("/")

    async def get(self, path: str = "/", **headers: str) -> tuple[int, str, Mapping[str, str]]:
        async with self.session.get(self.origin + path, headers=headers, allow_redirects=False) as response:
            return response.status, await response.text(), response.headers

    async def post(self, path: str, words: object, **headers: str) -> tuple[int, str]:
        async with self.session.post(self.origin + path, json=words, headers=headers) as response:
            return response.status, await response.text()


def served(
    act: Callable[[Browser, FakeDesk], Awaitable[None]], token: str | None = None, listen: str = "127.0.0.1:0"
) -> None:
    async def run() -> None:
        desk = FakeDesk()
        server = WebServer(listen, token, desk)
        await server.start()
        try:
            jar = aiohttp.CookieJar(unsafe=True)
            timeout = aiohttp.ClientTimeout(total=10)
            async with aiohttp.ClientSession(cookie_jar=jar, timeout=timeout) as session:
                await act(Browser(session, server), desk)
        finally:
            await server.close()

    asyncio.run(run())


def test_the_page_and_its_parts_come_with_a_strict_policy_and_nothing_from_elsewhere() -> None:
    async def act(browser: Browser, desk: FakeDesk) -> None:
        for path in web_server.PAGE:
            status, text, headers = await browser.get(path)
            policy = headers["Content-Security-Policy"]
            assert status == 200
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert "http://" not in text.replace("http://localhost", "")
            assert "https://" not in text
        assert (await browser.get("/../guard.py"))[0] == 404
        assert (await browser.get("/state"))[1] == '{"source": null}'

    served(act)


def test_an_offer_gets_its_answer_and_a_refusal_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "ANSWER_S", 0.2)

    async def act(browser: Browser, desk: FakeDesk) -> None:
        own = {"Origin": browser.origin}
        assert await browser.post("/offer", {"sdp": "x", "shows": "camera"}, **own) == (
            200,
            '{"sdp": "answer to x", "peer": "p1"}',
        )
        assert await browser.post("/offer", {"sdp": "x", "shows": "source"}, **own) == (503, "no room")
        assert (await browser.post("/offer", {"sdp": "x", "shows": "hang"}, **own))[0] == 504
        assert (await browser.post("/offer", ["no object"], **own))[0] == 400
        assert (await browser.post("/offer", {"sdp": "x" * 100_000}, **own))[0] == 413
        assert (await browser.post("/leave", {"peer": "p1"}, **own))[0] == 204
        assert desk.left == ["p1"]

    served(act)


def test_another_pages_post_is_refused() -> None:
    async def act(browser: Browser, desk: FakeDesk) -> None:
        port = browser.origin.rpartition(":")[2]
        for origin in ("http://evil.example", f"http://127.0.0.2:{port}", "null", ""):
            assert (await browser.post("/leave", {"peer": "p1"}, Origin=origin))[0] == 403
        assert (await browser.post("/leave", {"peer": "p1"}))[0] == 403
        assert desk.left == []

    served(act)


def test_a_name_that_was_pointed_at_this_machine_is_refused() -> None:
    async def act(browser: Browser, desk: FakeDesk) -> None:
        for host in ("evil.example", "127.0.0.1.evil.example", "user@127.0.0.1", "[::1", "", "192.0.2.7"):
            assert (await browser.get("/", Host=host))[0] == 403, host
        for host in ("localhost:9", "127.0.0.1", "[::1]:80"):
            assert (await browser.get("/", Host=host))[0] == 200, host

    served(act)


def test_a_token_is_asked_for_once_and_leaves_the_address_bar() -> None:
    async def act(browser: Browser, desk: FakeDesk) -> None:
        assert browser.server.url.endswith(f"?token={TOKEN}")
        for path in ("/", "/page.js", "/state", "/?token=wrong", "/?token=", f"/state?token={TOKEN}"):
            status, text, _ = await browser.get(path)
            assert status == 401
            assert TOKEN not in text
        assert (await browser.post("/leave", {}, Origin=browser.origin))[0] == 401
        status, _, headers = await browser.get(f"/?token={TOKEN}")
        assert (status, headers["Location"]) == (303, "/")
        assert TOKEN not in headers["Set-Cookie"]
        assert "HttpOnly" in headers["Set-Cookie"]
        assert (await browser.get("/state"))[0] == 200
        assert (await browser.post("/leave", {}, Origin="http://evil.example"))[0] == 403

    served(act, TOKEN)


def test_a_token_in_a_header_will_do() -> None:
    async def act(browser: Browser, desk: FakeDesk) -> None:
        assert (await browser.get("/state", Authorization=f"Bearer {TOKEN}"))[0] == 200
        assert (await browser.get("/state", Authorization="Bearer ä"))[0] == 401
        assert (await browser.get("/state", Authorization=TOKEN))[0] == 401

    served(act, TOKEN)


def test_another_interface_makes_a_token_and_takes_addresses() -> None:
    first, second = Guard("0.0.0.0", None), Guard("0.0.0.0", None)
    assert first.token is not None
    assert first.token != second.token
    assert first.allows_host("192.0.2.7:8080")
    assert first.allows_host(socket.gethostname())
    assert not first.allows_host("evil.example")
    assert Guard("127.0.0.1", None).token is None


@pytest.mark.parametrize("token", ["short", "line\nbreak-is-no-letter", "löngere-wörter-hier"])
def test_a_bad_token_is_said(token: str) -> None:
    with pytest.raises(ConfigError, match="token") as caught:
        Guard("127.0.0.1", token)
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:8080", ("::1", 8080)), ("8080", ("127.0.0.1", 8080)), (":1", None)],
)
def test_addresses_to_listen_on(text: str, wanted: tuple[str, int] | None) -> None:
    assert parse_listen(text) == (wanted or ("127.0.0.1", 1))


@pytest.mark.parametrize("text", ["", "localhost", "localhost:99999", "a b:80", "host:-1"])
def test_bad_addresses_to_listen_on_are_said(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        parse_listen(text)


def test_a_port_in_use_is_one_line_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SinkError, match=r"port is in use.*--listen"):
            asyncio.run(WebServer(listen, None, FakeDesk()).start())
    with pytest.raises(SinkError, match="no such address"):
        asyncio.run(WebServer("192.0.2.77:0", TOKEN, FakeDesk()).start())
