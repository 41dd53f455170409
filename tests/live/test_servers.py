"""The servers of the live tests work: what they serve and take is read back by PyAV, and by ffprobe."""

from __future__ import annotations

import importlib.util
import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest

from tests.live import servers

CLIP_S = 4.0
TCP: dict[str, Any] = {"options": {"rtsp_transport": "tcp"}, "timeout": (5, 5)}


@contextmanager
def publishing(clip: Path, url: str, container: str, audio: bool = True) -> Iterator[Callable[[], int]]:
    """Publishes the clip in a loop, at its pace; gives the number of packets sent so far."""
    ended, sent = threading.Event(), [0]

    def run() -> None:
        with av.open(str(clip)) as source, av.open(url, "w", format=container, options=TCP["options"]) as output:
            tracks = [*source.streams.video, *(source.streams.audio if audio else ())]
            streams: dict[int, Any] = {track.index: output.add_stream_from_template(track) for track in tracks}
            packets = [packet for packet in source.demux(*tracks) if packet.dts is not None]
            for turn in range(100):
                for packet in packets:
                    dts, base = packet.dts, packet.time_base
                    assert dts is not None
                    if ended.wait(1 / 96):
                        return
                    shift = round(turn * CLIP_S / base)
                    copy = av.Packet(bytes(packet))
                    copy.pts, copy.dts, copy.time_base = (packet.pts or 0) + shift, dts + shift, base
                    copy.is_keyframe, copy.duration = packet.is_keyframe, packet.duration
                    copy.stream = streams[packet.stream.index]
                    output.mux(copy)
                    sent[0] += 1

    thread = threading.Thread(target=run, name="publish")
    thread.start()
    try:
        yield lambda: sent[0]
    finally:
        ended.set()
        thread.join(10)


def assert_in_sync(shown: servers.Shown, seconds: float) -> None:
    numbers = [number for _, number in shown.pictures]
    assert len(numbers) > 24 * seconds * 0.7
    assert all((b - a) % 96 == 1 for a, b in itertools.pairwise(numbers)), numbers
    errors = shown.sync_errors(CLIP_S)
    assert errors
    assert max(map(abs, errors)) < 0.06, errors


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_rtsp_plays_in_a_loop_without_a_seam(sound_clip: Path, transport: str) -> None:
    with servers.rtsp_server(sound_clip) as server:
        shown = servers.shown_in(server.url(), 5.0, options={"rtsp_transport": transport}, timeout=(5, 5))
        assert_in_sync(shown, 5.0)
        times = [time_s for time_s, _ in shown.pictures]
        assert all(0.03 < b - a < 0.06 for a, b in itertools.pairwise(times))
        gaps = [b - a for a, b in itertools.pairwise(shown.audio_times)]
        assert all(gap == pytest.approx(1024 / 48000, abs=0.002) for gap in gaps)


def test_the_sample_server_runs_as_its_manual_says() -> None:
    program, clip = servers.SAMPLES / "rtsp_server.py", servers.SAMPLES / "parade.mp4"
    with servers.rtsp_server():  # skips where it cannot run
        pass
    with servers.ServerProcess([servers.PYTHON, str(program), "0", str(clip)], "is ready") as server:
        (url,) = (word for word in server.log.split() if word.startswith("rtsp://"))
        with av.open(url, **TCP) as reader:
            assert {stream.type for stream in reader.streams} == {"video", "audio"}
            assert next(reader.decode(video=0)).width > 0
        other = servers.ServerProcess(
            [servers.PYTHON, str(program), url.split(":")[2].split("/")[0], str(clip)], "is ready"
        )
        try:
            with pytest.raises(pytest.fail.Exception, match="port"):
                other.start()
        finally:
            other.close()


def test_the_sample_server_says_what_is_missing() -> None:
    if importlib.util.find_spec("gi") is not None:
        pytest.skip("this Python has GStreamer's bindings")
    command = [sys.executable, str(servers.SAMPLES / "rtsp_server.py"), "0", "clip.mp4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "apt-get install" in done.stderr


def test_rtsp_stalls_dies_and_returns_on_the_same_port(sound_clip: Path) -> None:
    with servers.rtsp_server(sound_clip) as server, av.open(server.url(), **TCP) as reader:
        packets = reader.demux()
        assert next(packets).size
        server.stall()
        server.resume()
        assert next(packets).size
        server.kill()
        for _ in range(1000):  # what was under way; then a clean end
            if next(packets, None) is None:
                break
        else:
            pytest.fail("the server still sends")
        server.restart()
        assert len(servers.shown_in(server.url(), 0.5, **TCP).pictures) > 5


def test_rtsp_wants_the_right_password(sound_clip: Path) -> None:
    with servers.rtsp_server(sound_clip, user="ann", password="p@ss w/rd") as server:
        assert len(servers.shown_in(server.url("/file"), 0.5, **TCP).pictures) > 5
        for login in ("", "ann:wrong@"):
            with pytest.raises(av.HTTPUnauthorizedError):
                av.open(server.url(login=login), **TCP)


@pytest.mark.parametrize("path", ["/pub", "/pubv"])
def test_rtsp_takes_a_publish_and_serves_it_on(sound_clip: Path, path: str) -> None:
    with (
        servers.rtsp_server() as server,
        publishing(sound_clip, server.url(path), "rtsp", audio=path == "/pub"),
    ):
        server.wait_for(f"published {path}")
        shown = servers.shown_in(server.url(path + "_play"), 2.0, **TCP)
        assert len(shown.pictures) > 30
        assert bool(shown.audio_times) == (path == "/pub")
    assert "Traceback" not in server.log


def test_ffprobe_sees_the_ball(tmp_path: Path) -> None:
    servers.needed("ffprobe")
    with servers.rtsp_server() as server:
        command = ["ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-show_entries", "stream=codec_name,width"]
        done = subprocess.run(
            [*command, "-of", "csv=p=0", server.url()], capture_output=True, text=True, timeout=30, check=False
        )
    assert done.stdout.split() == ["h264,320", "aac"], done.stderr


def test_rtmp_takes_and_serves_also_over_http(sound_clip: Path) -> None:
    with servers.rtmp_server() as server, publishing(sound_clip, server.url, "flv") as sent:
        servers.until(lambda: sent() > 20, "publish over RTMP")
        for url in (server.url, server.http_flv_url):
            shown = servers.shown_in(url, 1.0, timeout=(5, 5))
            assert len(shown.pictures) > 10
            assert shown.audio_times


def test_srt_goes_both_ways(sound_clip: Path) -> None:
    with servers.srt_source(sound_clip) as source, servers.srt_listener() as listener:
        command = ["srt-live-transmit", source.url, listener.url]
        with servers.ServerProcess(command, lambda: True):
            shown = servers.shown_in(f"{listener.udp_url}?timeout=8000000&fifo_size=50000", 1.0)
    assert len(shown.pictures) > 10
    assert shown.audio_times


def test_whip_receiver_decodes_what_it_is_sent(sound_clip: Path, tmp_path: Path) -> None:
    with servers.whip_receiver() as receiver:
        program = Path(__file__).with_name("whip_sender.py")
        with servers.ServerProcess([sys.executable, str(program), receiver.url, str(tmp_path)], lambda: True):
            servers.until(lambda: receiver.frames_seen > 10 and receiver.audio_seen > 10, "pictures and sound by WHIP")
            assert receiver.size_seen == "160x90"


def test_a_mute_server_takes_connections_and_says_nothing() -> None:
    with servers.mute_server() as port, socket.create_connection(("127.0.0.1", port), 1.0) as client:
        client.sendall(b"OPTIONS * RTSP/1.0\r\n\r\n")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_files_over_http(sound_clip: Path) -> None:
    with servers.http_server(sound_clip.parent) as server:
        assert len(servers.shown_in(server.url(sound_clip.name), timeout=(5, 5)).pictures) == 96


def test_a_display_can_be_grabbed() -> None:
    code = "import av, sys\nwith av.open(sys.argv[1], format='x11grab') as c: print(next(c.decode(video=0)).width)"
    with servers.xvfb(640, 360) as display:
        done = subprocess.run(
            [sys.executable, "-c", code, display], capture_output=True, text=True, timeout=30, check=False
        )
    assert done.stdout.strip() == "640", done.stderr


def test_a_camera_gives_pictures_twice() -> None:
    code = (
        "import av\noptions = {'video_size': '320x240', 'framerate': '30'}\n"
        "with av.open('/dev/video0', format='v4l2', options=options) as camera:\n"
        " widths = [frame.width for frame, _ in zip(camera.decode(video=0), range(10))]\n"
        "print(widths)"
    )
    with servers.v4l2_camera() as camera:
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", code], env={**os.environ, **camera.env}, capture_output=True, text=True,
                timeout=30, check=False,
            )  # fmt: skip
            assert done.stdout.strip() == str([320] * 10), done.stderr
            camera.source.restart()
