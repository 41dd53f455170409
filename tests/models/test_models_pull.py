"""Fetching weights from a real server on the loopback: resumed, checked, refused."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from streamsr.errors import WeightsError
from streamsr.models.catalog import LITE, Entry
from streamsr.models.pull import pull
from streamsr.models.pull_lock import pull_lock
from streamsr.models.transfer import transfer

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CUT_AT = 300_000


class Server(ThreadingHTTPServer):
    """Serves `content`; `faults` are taken one per request, then all goes well. `ranges` are the requests' headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.faults: list[str] = []
        self.ranges: list[str | None] = []
        self.paths: list[str] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.ranges.append(self.headers["Range"])
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdecimal():
            return self._reply(int(fault), b"no")
        if fault == "hang before":
            self.server.released.wait(20)
            return None
        start, content = 0, self.server.content
        if self.headers["Range"] and fault != "no ranges":
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self._reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        shift = 5 if fault == "wrong range" else 0
        headers = {"Content-Range": f"bytes {start + shift}-{len(content) - 1}/{len(content)}"} if start else {}
        if fault == "no length":
            return self._reply(200, content, length=None)
        self._reply(206 if start else 200, content[start:], headers, cut=fault)
        return None

    def _reply(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, length: int | None = -1, cut: str = ""
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if cut == "cut":
            body = body[:CUT_AT]
        if cut in ("stall", "drip"):
            self.wfile.write(body[:CUT_AT])
            for at in range(CUT_AT, len(body)):
                if self.server.released.wait(0.05 if cut == "drip" else 20):
                    return
                with contextlib.suppress(ConnectionError):  # the other side has given up
                    self.wfile.write(body[at : at + 1])
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("STREAMSR_WEIGHTS_URL", f"{server.url}/mirror/")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server
        server.released.set()
        server.shutdown()
        thread.join(10)


def entry(sha256: str | None = SHA256, size: int | None = len(CONTENT)) -> Entry:
    return Entry("demo", "Demo_x4.pth", "https://weights.invalid/Demo_x4.pth", size, sha256, 4, "srvgg", "BSD", "demo")


def fetch(folder: Path, wanted: Entry, timeout_s: float = 5.0) -> Path:
    return pull(wanted, folder, timeout_s=timeout_s, pause_s=0.01)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fetches_reports_and_leaves_nothing_else(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = pull(entry(), tmp_path / "new" / "folder", lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "new" / "folder" / "Demo_x4.pth"
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["Demo_x4.pth"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert server.paths == ["/mirror/Demo_x4.pth"]


def test_what_is_here_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    fetch(tmp_path, entry())
    fetch(tmp_path, entry())
    assert len(server.paths) == 1


def test_a_damaged_copy_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Demo_x4.pth").write_bytes(CONTENT[:-1] + b"?")
    assert fetch(tmp_path, entry()).read_bytes() == CONTENT
    assert len(server.paths) == 1


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_cut_connections_are_resumed(server: Server, tmp_path: Path, size: int | None) -> None:
    server.faults = ["cut", "cut"]
    assert fetch(tmp_path, entry(size=size)).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={CUT_AT}-", f"bytes={2 * CUT_AT}-"]


def test_goes_on_from_the_part_of_an_earlier_process(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Demo_x4.pth.part").write_bytes(CONTENT[:1000])
    assert fetch(tmp_path, entry()).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


def test_a_complete_part_is_only_checked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Demo_x4.pth.part").write_bytes(CONTENT)
    assert fetch(tmp_path, entry()).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_part_that_is_too_long_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Demo_x4.pth.part").write_bytes(CONTENT + b"more")
    assert fetch(tmp_path, entry()).read_bytes() == CONTENT


def test_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.faults = ["cut", "no ranges"]
    assert fetch(tmp_path, entry()).read_bytes() == CONTENT


def test_server_that_answers_with_another_range(server: Server, tmp_path: Path) -> None:
    server.faults = ["cut", "wrong range"]
    assert fetch(tmp_path, entry()).read_bytes() == CONTENT


def test_reply_without_a_length(server: Server, tmp_path: Path) -> None:
    server.faults = ["no length"]
    assert fetch(tmp_path, entry()).read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["stall", "drip", "hang before", "503", "429"])
def test_faults_that_pass_are_tried_again(server: Server, tmp_path: Path, fault: str) -> None:
    server.faults = [fault]
    assert fetch(tmp_path, entry(), timeout_s=0.4).read_bytes() == CONTENT
    assert len(server.paths) >= 2


def test_gives_up_after_some_attempts_and_keeps_the_part(server: Server, tmp_path: Path) -> None:
    server.faults = ["cut", *["503"] * 5]
    with pytest.raises(WeightsError, match=r"answered 503.*Try again: it goes on"):
        fetch(tmp_path, entry())
    assert (tmp_path / "Demo_x4.pth.part").stat().st_size == CUT_AT
    assert names(tmp_path) == ["Demo_x4.pth.part"]
    assert fetch(tmp_path, entry()).read_bytes() == CONTENT


@pytest.mark.parametrize("status", ["404", "403"])
def test_refusals_are_final(server: Server, tmp_path: Path, status: str) -> None:
    server.faults = [status] * 5
    with pytest.raises(WeightsError, match=f"answered {status}.*mirror/Demo_x4.pth.*by hand"):
        fetch(tmp_path, entry())
    assert len(server.paths) == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"<html>log in to the hotel's network</html>", CONTENT[:-1] + b"?", CONTENT * 2])
def test_wrong_bytes_are_refused_and_removed(server: Server, tmp_path: Path, content: bytes) -> None:
    server.content = content
    with pytest.raises(WeightsError, match=r"not Demo_x4.pth as published.*removed"):
        fetch(tmp_path, entry())
    assert names(tmp_path) == []


def test_a_hash_may_be_known_by_its_beginning(server: Server, tmp_path: Path) -> None:
    fetch(tmp_path, entry(sha256=SHA256[:8], size=None))
    (tmp_path / "Demo_x4.pth").unlink()
    with pytest.raises(WeightsError, match="as published"):
        fetch(tmp_path, entry(sha256="00000000", size=None))


def test_an_unpublished_hash_is_remembered_from_the_first_copy(server: Server, tmp_path: Path) -> None:
    path = fetch(tmp_path, entry(sha256=None, size=None))
    assert (tmp_path / "Demo_x4.pth.sha256").read_text() == f"{SHA256}  Demo_x4.pth\n"
    path.unlink()
    server.content = b"another edition"
    with pytest.raises(WeightsError, match="as published"):
        fetch(tmp_path, entry(sha256=None, size=None))
    server.content = CONTENT
    assert fetch(tmp_path, entry(sha256=None, size=None)).read_bytes() == CONTENT


def test_without_a_hash_an_older_part_is_not_trusted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Demo_x4.pth.part").write_bytes(b"x" * 1000)
    assert fetch(tmp_path, entry(sha256=None, size=None)).read_bytes() == CONTENT


def test_a_spoilt_note_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Demo_x4.pth.sha256").write_text("never mind")
    with pytest.raises(WeightsError, match="does not hold a SHA-256"):
        fetch(tmp_path, entry(sha256=None))


def test_two_pulls_at_once(server: Server, tmp_path: Path) -> None:
    with (
        pull_lock(tmp_path / "Demo_x4.pth"),
        pytest.raises(WeightsError, match="another process is fetching the same weights"),
    ):
        fetch(tmp_path, entry())
    assert server.paths == []
    assert fetch(tmp_path, entry()).read_bytes() == CONTENT
    assert names(tmp_path) == ["Demo_x4.pth"]


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSR_WEIGHTS_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(WeightsError, match=r"cannot fetch the weights.*refused"):
        fetch(tmp_path, entry())


def test_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WeightsError, match="cannot store the weights of demo"):
        fetch(tmp_path / "file", entry())


def test_only_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSR_WEIGHTS_URL", "file:///etc")
    with pytest.raises(WeightsError, match="not an http or https address"):
        fetch(tmp_path, entry())


def test_lite_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="comes with streamsr"):
        fetch(tmp_path, LITE)


def test_a_full_disk_is_not_taken_for_a_broken_line(server: Server) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match="No space left"):
        transfer(f"{server.url}/x", full, None, lambda _done, _total: None, 5.0)
