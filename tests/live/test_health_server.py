"""The server for monitoring: answers, limits, end."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from streamsr.errors import ConfigError, SinkError
from streamsr.live.health_server import MAX_CONNECTIONS, HealthServer, parse_listen
from streamsr.live.stats import StreamStatus
from tests.live.moments import stream


@contextmanager
def served(*statuses: StreamStatus | Exception, listen: str = "127.0.0.1:0") -> Iterator[HealthServer]:
    def read() -> Sequence[StreamStatus]:
        for status in statuses:
            if isinstance(status, Exception):
                raise status
        return [status for status in statuses if isinstance(status, StreamStatus)]

    server = HealthServer(listen, read)
    server.start()
    try:
        yield server
    finally:
        server.close()
        server.close()


def fetch(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str, str]:
    """(status, content type, text)."""
    request = urllib.request.Request(f"{server.url}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_the_three_pages() -> None:
    with served(stream()) as server:
        code, kind, text = fetch(server, "/status")
        assert (code, kind, json.loads(text)["streams"][0]["name"]) == (200, "application/json", "front")
        code, kind, text = fetch(server, "/metrics")
        assert code == 200
        assert kind.startswith("text/plain; version=0.0.4")
        assert 'streamsr_stream_fps_in{stream="front"} 25\n' in text
        assert fetch(server, "/health?verbose")[::2] == (200, "ok\n")
        assert fetch(server, "/health", "HEAD")[::2] == (200, "")


def test_health_names_each_bad_stream() -> None:
    bad = stream(name="yard", state="failed", error="wrong password")
    with served(stream(), bad, stream(name="gate", state="stopped")) as server:
        assert fetch(server, "/health")[::2] == (503, "yard: failed: wrong password\ngate: stopped\n")
    with served() as server:
        assert fetch(server, "/health")[::2] == (503, "there are no streams\n")


def test_other_requests_are_refused() -> None:
    with served(stream()) as server:
        assert fetch(server, "/")[::2] == (404, "there are /status, /metrics and /health\n")
        assert fetch(server, "/../etc/passwd")[0] == 404
        assert fetch(server, "/status", "POST")[0] == 501


def test_a_name_that_only_points_here_is_refused() -> None:
    with served(stream()) as server:
        request = urllib.request.Request(f"{server.url}/status", headers={"Host": "rebound.example:80"})
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(request, timeout=10)
        refused.value.close()
        port = server.url.rpartition(":")[2]
        request = urllib.request.Request(f"{server.url}/status", headers={"Host": f"LOCALHOST:{port}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200


def test_a_fault_of_ours_is_an_answer_without_its_words() -> None:
    with served(RuntimeError("rtsp://me:secret@host")) as server:
        for page in ("/status", "/metrics", "/health"):
            code, _, text = fetch(server, page)
            assert (code, text) == (500, "the status could not be read: RuntimeError\n")


def test_a_port_in_use_and_one_that_may_not_be_had() -> None:
    with served(stream()) as server:
        taken = server.url.removeprefix("http://")
        with pytest.raises(SinkError, match=r"the port is in use \(127.0.0.1:\d+\)\. Choose another .*--status-listen"):
            HealthServer(taken, lambda: []).start()
    with pytest.raises(SinkError, match="cannot listen"):
        HealthServer("203.0.113.1:9", lambda: []).start()
    with served(stream(), listen=taken) as again:  # the port is free at once
        assert fetch(again, "/health")[0] == 200


def test_those_who_say_nothing_do_not_keep_others_out() -> None:
    with served(stream()) as server, ExitStack() as stack:
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        for _ in range(3 * MAX_CONNECTIONS):
            silent = stack.enter_context(socket.create_connection(address, timeout=10))
            silent.sendall(b"GET /sta")
        assert fetch(server, "/health")[0] == 200
        started = time.monotonic()
    assert time.monotonic() - started < 3  # close() waits for none of them


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":9180", ("127.0.0.1", 9180)),
        ("9180", ("127.0.0.1", 9180)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("monitor.local:0", ("monitor.local", 0)),
        ("[::1]:9180", ("::1", 9180)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", "::1:9180", "[::1]", "host:65536", "a b:1", "[::1:9"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="Write HOST:PORT"):
        parse_listen(text)


def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with served(stream(), listen="[::1]:0") as server:
        assert server.url.startswith("http://[::1]:")
        assert fetch(server, "/health")[0] == 200
