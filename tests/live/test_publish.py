"""Publishers against real receivers: the pictures arrive in order and with sound, and nobody waits for another."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from streamsr.errors import ConfigError, SinkError
from streamsr.live.address import TargetAddress, parse_target
from streamsr.live_config import PublishConfig
from streamsr.live_frames import LiveVideo
from streamsr.media.publish import Publisher, check_target
from streamsr.runtime.gate import Gate
from tests.live.packets import Feed, numbers_in, numbers_of, publishing, wait_until
from tests.live.servers import free_port, needed, rtmp_server, rtsp_server, srt_caller, srt_listener, whip_receiver
from tests.media import read_number

LISTEN_S = 15


class Listener:
    """FFmpeg's own listening end of a protocol, on a thread: reads `count` pictures, then closes."""

    def __init__(self, url: str, count: int, **options: Any) -> None:
        self._url, self._count, self._options = url, count, options
        self.numbers: list[int] = []
        self.num_sound = 0
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="listener")

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(LISTEN_S + 5)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with av.open(self._url, options=self._options, timeout=LISTEN_S) as container:
                assert container.streams.audio
                for packet in container.demux():
                    if packet.stream.type == "audio":
                        self.num_sound += 1
                    elif packet.dts is not None:
                        self.numbers += numbers_of_packet(packet)
                    if len(self.numbers) >= self._count:
                        return
        except (av.FFmpegError, AssertionError) as error:
            self.error = error


def numbers_of_packet(packet: Any) -> list[int]:
    return [read_number(frame.to_ndarray(format="gray")) for frame in packet.decode()]


def assert_in_order(numbers: list[int], least: int) -> None:
    assert len(numbers) >= least
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def is_live(publisher: Publisher) -> Callable[[], bool]:
    return lambda: publisher.status().state == "live"


@pytest.mark.parametrize("speaks_rtsp", [True, False], ids=["rtsp", "rtmp"])
def test_a_listener_gets_all_pictures_and_sound(speaks_rtsp: bool) -> None:
    port = free_port()
    url = f"{'rtsp' if speaks_rtsp else 'rtmp'}://127.0.0.1:{port}/live/key"
    options = {"rtsp_flags": "listen", "listen_timeout": str(LISTEN_S)} if speaks_rtsp else {"listen": "1"}
    sent: list[LiveVideo] = []
    with Listener(url, 36, **options) as listener, publishing(url) as (publisher,):
        publisher.on_sent = sent.append
        with Feed((publisher,)):
            wait_until(lambda: len(listener.numbers) >= 36 or listener.error, LISTEN_S)
    assert listener.error is None
    assert_in_order(listener.numbers, 36)
    assert listener.numbers[0] % 12 == 0
    assert listener.num_sound > 36
    assert sent[0].is_keyframe
    assert len(sent) >= 36
    assert publisher.status().state == "stopped"


def test_udp_is_mpegts_that_can_be_read_from_the_middle() -> None:
    port = free_port(socket.SOCK_DGRAM)
    with publishing(f"udp://127.0.0.1:{port}") as (publisher,), Feed((publisher,)):
        wait_until(is_live(publisher), 20)
        with Listener(f"udp://127.0.0.1:{port}?timeout=5000000&fifo_size=50000", 30) as listener:
            wait_until(lambda: len(listener.numbers) >= 30 or listener.error, LISTEN_S)
    assert listener.error is None
    assert_in_order(listener.numbers, 30)
    assert listener.num_sound > 20


def test_an_rtsp_server_serves_on_what_is_published() -> None:
    with rtsp_server(user="me", password="geheim123") as server:
        with publishing(server.url("/pub")) as (publisher,), Feed((publisher,)):
            server.wait_for("published /pub", 20)
            with av.open(server.url("/pub_play"), options={"rtsp_transport": "tcp"}, timeout=10.0) as reader:
                seen = [number for number, _ in zip(numbers_of(reader), range(24), strict=False)]
            status = publisher.status()
        assert_in_order(seen, 24)
        assert status.state == "live"
        assert "geheim123" not in repr(publisher.status())
        server.wait_for("unpublished /pub", 5)


def test_an_rtmp_server_serves_on_what_is_published() -> None:
    with rtmp_server() as server, publishing(server.url) as (publisher,), Feed((publisher,)):
        wait_until(is_live(publisher), 20)
        with av.open(server.http_flv_url, timeout=10.0) as reader:
            seen = [number for number, _ in zip(numbers_of(reader), range(24), strict=False)]
            assert [stream.codec_context.name for stream in reader.streams.audio if stream.codec_context] == ["aac"]
    assert_in_order(seen, 24)


@pytest.mark.parametrize("is_caller", [True, False], ids=["caller", "listener"])
def test_srt_both_ways(is_caller: bool) -> None:
    opened = srt_listener() if is_caller else srt_caller()
    with opened as peer, publishing(peer.url) as (publisher,), Feed((publisher,)):
        wait_until(is_live(publisher), 20)
        check_target(publisher.target, PublishConfig())  # as when the settings of a running stream are changed
        with Listener(f"{peer.udp_url}?timeout=8000000&fifo_size=50000", 30) as listener:
            wait_until(lambda: len(listener.numbers) >= 30 or listener.error, LISTEN_S)
    assert listener.error is None
    assert_in_order(listener.numbers, 30)
    assert listener.num_sound > 20


def test_whip_brings_pictures_and_sound_to_a_webrtc_receiver() -> None:
    with whip_receiver() as receiver, publishing(f"whip:{receiver.url}") as (publisher,), Feed((publisher,)):
        wait_until(lambda: receiver.frames_seen > 24 and receiver.audio_seen > 24, 30)
        assert publisher.status().state == "live"


def test_a_slow_target_does_not_slow_another(tmp_path: Path) -> None:
    """The receiver reads nothing after the greeting; the recording beside it has every picture."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as mute:
        targets = (f"rtmp://127.0.0.1:{port}/live/key", f"record:{tmp_path / 'film.mkv'}")
        with publishing(*targets, end_s=1.5, stall_s=2) as (stuck, recording), Feed((stuck, recording)) as feed:
            wait_until(is_live(recording), 20)
            before = recording.status().packets
            wait_until(lambda: recording.status().packets - before > 180, 8)
            assert stuck.status().packets == 0
            assert feed.slowest_put_s < 0.2
        mute.close()
    (film,) = tmp_path.glob("*.mkv")
    numbers = numbers_in(film)
    assert_in_order(numbers, 48)


def test_nothing_waits_for_sound_that_stops() -> None:
    """A muxer of FFmpeg keeps pictures back for ten seconds when one of its tracks falls silent."""
    port = free_port(socket.SOCK_DGRAM)
    with publishing(f"udp://127.0.0.1:{port}") as (publisher,), Feed((publisher,), only_pictures=True):
        wait_until(is_live(publisher), 20)
        with Listener(f"udp://127.0.0.1:{port}?timeout=8000000", 24, analyzeduration="500000") as listener:
            wait_until(lambda: len(listener.numbers) >= 24 or listener.error, 7)
    assert_in_order(listener.numbers, 24)


@pytest.mark.parametrize(("mode", "sound"), [("copy", ["aac"]), ("transcode", ["aac"]), ("none", [])])
def test_sound_is_copied_made_anew_or_left_out(tmp_path: Path, mode: str, sound: list[str]) -> None:
    with publishing(f"record:{tmp_path / 'film.mp4'}", audio=mode) as (publisher,), Feed((publisher,)):
        wait_until(lambda: publisher.status().packets > (150 if sound else 48), 20)
    (film,) = tmp_path.iterdir()
    with av.open(str(film)) as container:
        assert [stream.codec_context.name for stream in container.streams.audio] == sound
        times = (
            [float((packet.pts or 0) * packet.time_base) for packet in container.demux(audio=0) if packet.size]
            if sound
            else []
        )
    assert times == sorted(times)
    assert not times or (abs(times[0]) < 0.05 and times[-1] > 1.5)


def test_the_process_starts_light() -> None:
    code = "import sys, streamsr.media.publish_worker; sys.exit(' '.join(set(sys.modules) & {'torch', 'pydantic'}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60).stderr == b"\n"


def test_closing_before_the_first_picture_is_quick() -> None:
    started = time.monotonic()
    with publishing("udp://127.0.0.1:9") as (publisher,):
        assert publisher.status().state == "starting"
    assert time.monotonic() - started < 2
    assert publisher.status().state == "stopped"


def test_an_abort_of_the_stream_ends_the_publisher() -> None:
    gate = Gate()
    with publishing("udp://127.0.0.1:9", gate=gate) as (publisher,), Feed((publisher,)):
        wait_until(is_live(publisher), 20)
        gate.abort(RuntimeError("enough"))
        wait_until(lambda: publisher.status().state == "stopped", 5)


def test_what_is_wrong_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = PublishConfig(listen="none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(SinkError):
        check_target(parse_target(f"record:{tmp_path / 'file' / 'film.mp4'}"), cfg)
    with pytest.raises(SinkError):
        check_target(parse_target(f"hls:{tmp_path / 'file' / 'web'}"), cfg)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        needed("srt-live-transmit")
        with pytest.raises(SinkError, match="in use"):
            check_target(parse_target(f"srt://127.0.0.1:{other.getsockname()[1]}?mode=listener"), cfg)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="srt-live-transmit"):
        check_target(TargetAddress("srt", "srt://host:1"), cfg)
