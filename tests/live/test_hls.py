"""The HLS folder and its server: what is written can be played, what is old or foreign is treated as it should be."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import av
import psutil
import pytest

from streamsr.errors import ConfigError, SinkError
from streamsr.live.address import parse_target
from streamsr.live.hls_folder import HlsFolder, hls_folder
from streamsr.live.hls_server import HlsServer, check_listen
from streamsr.live_config import PublishConfig
from streamsr.media.publish import check_target
from streamsr.runtime.gate import Gate
from tests.live.packets import Feed, numbers_of, publishing, wait_until
from tests.live.server_process import free_port

ANY = "127.0.0.1:0"


def get(url: str, path: str = "", method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=5)
    try:
        connection.putrequest(method, (path if path.startswith("/") else parts.path + path) or "/")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def test_a_player_can_follow_it_over_http(tmp_path: Path) -> None:
    folder = tmp_path / "my cam"
    with publishing(f"hls:{folder}", listen=ANY) as (publisher,), Feed((publisher,)):
        wait_until(lambda: (folder / "live.m3u8").exists(), 20)
        url = publisher.watch_url
        status, playlist, headers = get(url, "live.m3u8")
        assert status == 200
        assert b"#EXT-X-INDEPENDENT-SEGMENTS" in playlist
        assert headers["content-type"] == "application/vnd.apple.mpegurl"
        with av.open(url + "live.m3u8", timeout=10.0) as reader:
            assert [stream.type for stream in reader.streams] == ["video", "audio"]
            numbers = [number for number, _ in zip(numbers_of(reader), range(60), strict=False)]
        assert numbers == [*range(numbers[0], numbers[0] + 60)]
        status, page, headers = get(url)
        assert status == 200
        assert b"live.m3u8" in page
        assert b"my cam" in page
        assert b"http://" not in page
        assert "default-src 'none'" in headers["content-security-policy"]
    assert "#EXT-X-ENDLIST" in (folder / "live.m3u8").read_text()


def test_old_segments_go_and_foreign_files_stay(tmp_path: Path) -> None:
    foreign = ["holiday.mp4", "live.txt", "other-1700000000.m4s", "live-1700000000.m4s.bak", "alive-1700000000.m4s"]
    ours = ["live-1700000000.m4s", "live-1700000001.m4s", "live-1700000000-init.mp4", "live.m3u8.tmp"]
    for name in foreign + ours:
        (tmp_path / name).write_text("x")
    (tmp_path / "live.m3u8").write_text("#EXTM3U\nlive-1700000001.m4s\n")
    folder = hls_folder(str(tmp_path))
    assert folder.new_number() > 1_700_000_001
    folder.clean(keep_listed=True)
    assert {each.name for each in tmp_path.iterdir()} == {*foreign, "live.m3u8", "live-1700000001.m4s"}
    folder.clean(keep_listed=False)
    assert {each.name for each in tmp_path.iterdir()} == {*foreign}


def test_segments_stay_few_while_it_runs_and_the_next_run_cleans(tmp_path: Path) -> None:
    for _ in range(2):
        with publishing(f"hls:{tmp_path / 'cam.m3u8'}", segment_s=0.5, segments=3) as (publisher,), Feed((publisher,)):
            wait_until(lambda: publisher.status().packets > 350, 20)
        segments = sorted(tmp_path.glob("cam-*.m4s"))
        assert 3 <= len(segments) <= 6
        assert len([*tmp_path.glob("*-init.mp4")]) == 1


def test_a_foreign_playlist_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "live.m3u8").write_text("#EXTM3U\nsong.mp3\n")
    with pytest.raises(SinkError, match="not ours"):
        check_target(parse_target(f"hls:{tmp_path}"), PublishConfig(listen="none"))
    assert "song.mp3" in (tmp_path / "live.m3u8").read_text()


def test_a_restarted_process_goes_on_with_higher_numbers(tmp_path: Path) -> None:
    with publishing(f"hls:{tmp_path}", segment_s=0.5) as (publisher,), Feed((publisher,)):
        wait_until((tmp_path / "live.m3u8").exists, 20)
        first = {each.name for each in tmp_path.glob("*.m4s")}
        (child,) = psutil.Process().children()
        child.kill()
        wait_until(lambda: publisher.status().reconnects == 1, 15)
        wait_until(lambda: "DISCONTINUITY" in (tmp_path / "live.m3u8").read_text(), 10)
        text = (tmp_path / "live.m3u8").read_text()
    number = int(text.partition("#EXT-X-MEDIA-SEQUENCE:")[2].partition("\n")[0])
    assert number > max(int(name[5:-4]) for name in first)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[HlsServer]:
    (tmp_path / "cam").mkdir()
    (tmp_path / "secret.mp4").write_text("secret")
    for name in ("live.m3u8", "live-1700000000.m4s", "notes.txt", "film.mp4"):
        (tmp_path / "cam" / name).write_text(name)
    (tmp_path / "cam" / "live-1700000001.m4s").symlink_to(tmp_path / "secret.mp4")
    server = HlsServer(HlsFolder(tmp_path / "cam", "live"), ANY)
    server.start(Gate())
    yield server
    server.close()


@pytest.mark.parametrize(
    "path",
    [
        "notes.txt",
        "film.mp4",
        "../secret.mp4",
        "%2e%2e/secret.mp4",
        "..%2fsecret.mp4",
        "live-1700000001.m4s",
        "live-1700000000.m4s%00",
        "live-1700000000.m4s/",
        "/nowhere/live.m3u8",
        "/cam/%2fetc%2fpasswd",
    ],
)
def test_nothing_else_is_served(site: HlsServer, path: str) -> None:
    assert get(site.url, path)[0] == 404


def test_what_is_served(site: HlsServer) -> None:
    assert get(site.url, "live-1700000000.m4s")[1] == b"live-1700000000.m4s"
    assert get(site.url, "live.m3u8?_=1")[0] == 200
    assert get(site.url, "live.m3u8", "HEAD")[1] == b""
    assert get(site.url, "/")[1].count(b"<li>") == 1
    assert get(site.url, "/cam")[2]["location"] == "/cam/"
    assert get(site.url, "live.m3u8", "POST")[0] == 501


def test_streams_share_an_address_and_the_last_ends_it(tmp_path: Path) -> None:
    listen = f"127.0.0.1:{free_port()}"
    servers = []
    for name in ("a/cam", "b/cam"):
        (tmp_path / name).mkdir(parents=True)
        server = HlsServer(HlsFolder(tmp_path / name, "live"), listen)
        server.start(Gate())
        servers.append(server)
    check_listen(listen)
    assert [urlsplit(server.url).path for server in servers] == ["/cam/", "/cam-2/"]
    servers[0].close()
    assert get(servers[1].url)[0] == 200
    assert get(servers[0].url or f"http://{listen}/cam/")[0] == 404
    servers[1].close()
    servers[1].close()
    check_listen(listen)
    with pytest.raises(OSError, match="refused"):
        get(f"http://{listen}/")


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(SinkError, match="in use"):
            check_target(parse_target(f"hls:{tmp_path}"), PublishConfig(listen=listen))
        # Whoever starts all the same keeps the folder, and says why nothing is served.
        with publishing(f"hls:{tmp_path}", listen=listen) as (publisher,), Feed((publisher,)):
            wait_until((tmp_path / "live.m3u8").exists, 20)
            assert "in use" in publisher.status().error
    with pytest.raises(ConfigError):
        check_target(parse_target(f"hls:{tmp_path}"), PublishConfig(listen="nonsense"))


def test_a_viewer_that_says_nothing_keeps_nobody_waiting(site: HlsServer) -> None:
    address = (urlsplit(site.url).hostname, urlsplit(site.url).port)
    silent = [socket.create_connection(address, timeout=5) for _ in range(20)]
    assert get(site.url)[0] == 200
    ender = threading.Thread(target=site.close)
    ender.start()
    ender.join(5)
    assert not ender.is_alive()
    for connection in silent:
        connection.close()
