from __future__ import annotations

import os
import random
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest

from tests.live.ingest_events import Events
from tests.live.servers import free_port, http_server, mute_server, needed, rtsp_server, srt_source, udp_sender
from tests.media import AudioTrack, make_clip, read_number


def test_a_killed_server_is_waited_for(sound_clip: Path) -> None:
    with rtsp_server(sound_clip) as server, Events(server.url()) as events:
        events.wait(lambda: len(events.pictures) >= 5)
        server.kill()
        events.wait(lambda: events.away)
        seen = len(events.pictures)
        server.restart()
        events.wait(lambda: len(events.pictures) >= seen + 5)
    assert "ended" in events.away[0].reason
    assert 0.5 < events.away[0].retry_in_s < 1.5
    assert [info.session for info in events.opened] == [0, 1]
    assert {picture.info.session for picture in events.pictures} == {0, 1}
    assert events.counters["reconnects"] == 1


def test_a_stalled_server_is_left_and_found_again(sound_clip: Path) -> None:
    with rtsp_server(sound_clip) as server, Events(server.url(), stall_s=1.0, open_timeout_s=1.0) as events:
        events.wait(lambda: len(events.pictures) >= 5)
        server.stall()
        events.wait(lambda: len(events.away) >= 2)  # the second one: it is stalled when it is opened, too
        seen = len(events.pictures)
        server.resume()
        events.wait(lambda: len(events.pictures) >= seen + 5)
    assert events.away[0].reason in ("no data for 1 s", "no picture for 1 s")
    assert events.away[1].reason == "no answer within 1 s"


def test_a_server_that_says_nothing_is_no_source() -> None:
    with mute_server() as port, Events(f"rtsp://127.0.0.1:{port}/x", open_timeout_s=1.0) as events:
        assert "no answer within 1 s" in str(events.refusal(15))
    with mute_server() as port, Events(f"rtmp://127.0.0.1:{port}/app/x", open_timeout_s=1.0) as events:
        assert "no answer within 1 s" in str(events.refusal(15))


def test_sound_alone_is_no_sign_of_life(tmp_path: Path) -> None:
    graph = "testsrc2=s=64x48:r=25:d=0.4[out0];sine=r=48000[out1]"
    with Events(f"lavfi:{graph}", stall_s=1.0) as events:
        events.wait(lambda: events.away, 20)
    assert events.away[0].reason == "no picture for 1 s"
    assert len(events.audio) > 40


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(signal.SIGKILL, "the ingest process ended: killed by SIGKILL"), (signal.SIGSTOP, "no picture for 1 s")],
)
def test_a_dead_or_frozen_process_is_replaced(sent: signal.Signals, reason: str) -> None:
    with Events("lavfi:testsrc2=s=64x48:r=50", stall_s=1.0) as events:
        events.wait(lambda: len(events.pictures) >= 5)
        first = events.child_pid
        os.kill(first, sent)
        events.wait(lambda: len(events.opened) == 2)
        assert events.child_pid != first
        assert not psutil.pid_exists(first)
    assert events.away[0].reason == reason


def test_slots_that_are_out_survive_a_new_process() -> None:
    with Events("lavfi:testsrc2=s=64x48:r=50", num_slots=3, hold=True) as events:
        events.wait(lambda: len(events.held) == 3)
        before = [bytes(picture.slot.memory[:4608]) for picture in events.held]
        os.kill(events.child_pid, signal.SIGKILL)
        events.wait(lambda: events.counters["dropped_ingest"] and len(events.away) == 1)
        events.hold = False
        assert [bytes(picture.slot.memory[:4608]) for picture in events.held] == before
        for picture in events.held:
            picture.slot.release()
        events.wait(lambda: len(events.pictures) >= 20)
    assert [info.session for info in events.opened] == [0, 1]


def test_what_cannot_be_had_is_said_in_one_line_without_secrets(sound_clip: Path) -> None:
    with rtsp_server(sound_clip, user="admin", password="right!") as server:
        refused = {
            server.url("/live", login="admin:hunter2wrong@"): "wrong user name or password",
            server.url("/nothing"): "knows no such stream (404)",
            f"rtsp://admin:hunter2wrong@127.0.0.1:{free_port()}/x": "connection refused",
            "rtsp://admin:hunter2wrong@no-such-host.invalid/x": "unknown host no-such-host.invalid",
            f"http://127.0.0.1:{free_port()}/x.m3u8?token=hunter2wrong": "connection refused",
        }
        for url, words in refused.items():
            with Events(url) as events:
                said = str(events.refusal())
            assert words in said
            assert "\n" not in said
            assert "***@" in said or "token=***" in said
            for secret in ("hunter2wrong", "right!", "right%21"):
                assert secret not in said
            assert events.away == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("camera:97", "no such camera"),
        ("screen::97", "no display"),
        ("lavfi:nosuchfilter=1", "filter graph"),
        ("nosuchfile.mp4", "No such file"),
    ],
)
def test_what_is_not_there_is_said(source: str, words: str) -> None:
    with Events(source) as events:
        said = events.refusal()
    assert words in str(said)
    assert said.remedy


def test_a_port_that_somebody_has(sound_clip: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with Events(f"udp://127.0.0.1:{taken.getsockname()[1]}") as events:
            assert "another program has this port" in str(events.refusal())


def test_no_screen_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with Events("screen:") as events:
        assert "no display" in str(events.refusal())


def test_tracks_that_are_of_no_use(tmp_path: Path) -> None:
    make_clip(tmp_path / "sound.mkv", frames=12, audio=[AudioTrack()])
    clip = make_clip(tmp_path / "a.mkv", frames=12).read_bytes()
    assert clip.count(b"V_MPEG4/ISO/AVC") == 1
    (tmp_path / "odd.mkv").write_bytes(clip.replace(b"V_MPEG4/ISO/AVC", b"V_NOBODY/KNOWS "))
    sound_only(tmp_path / "sound.mkv", tmp_path / "only.mka")
    with http_server(tmp_path) as server:
        for name, words in {"only.mka": "no video track", "odd.mkv": "no decoder"}.items():
            for source in (str(tmp_path / name), server.url(name)):
                with Events(source) as events:
                    assert words in str(events.refusal())


def sound_only(source: Path, target: Path) -> None:
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        track = output.add_stream_from_template(container.streams.audio[0])
        for packet in container.demux(audio=0):
            if packet.dts is not None:
                packet.stream = track
                output.mux(packet)


@contextmanager
def lossy_relay(port: int, *, lose: float, spoil: float) -> Iterator[int]:
    """A UDP port that passes on to `port`, less some datagrams, and with bytes turned in others."""
    chance, stop = random.Random(4), threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inlet:
        inlet.bind(("127.0.0.1", 0))
        inlet.settimeout(0.1)

        def relay() -> None:
            while not stop.is_set():
                try:
                    data = bytearray(inlet.recv(2048))
                except TimeoutError:
                    continue
                if chance.random() < lose:
                    continue
                if chance.random() < spoil:
                    for _ in range(20):
                        data[chance.randrange(8, len(data))] ^= 0xFF
                inlet.sendto(data, ("127.0.0.1", port))

        thread = threading.Thread(target=relay, daemon=True)
        thread.start()
        try:
            yield inlet.getsockname()[1]
        finally:
            stop.set()
            thread.join(5)


def test_lost_and_spoiled_packets_cost_some_pictures_only(sound_clip: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    with (
        lossy_relay(port, lose=0.04, spoil=0.04) as inlet,
        udp_sender(sound_clip, f"udp://127.0.0.1:{inlet}"),
        Events(f"udp://127.0.0.1:{port}") as events,
    ):
        events.wait(lambda: len(events.pictures) >= 72 and events.counters["corrupt_packets"] >= 3, 60)
    assert events.away == []
    assert len(events.opened) == 1
    right = sum(is_readable(picture.luma) for picture in events.pictures)
    assert right >= len(events.pictures) // 5


def is_readable(luma: np.ndarray[Any, Any]) -> bool:
    try:
        read_number(luma)
    except AssertionError:
        return False
    return True


def test_srt_and_its_end(sound_clip: Path) -> None:
    with srt_source(sound_clip) as server, Events(f"{server.url}&passphrase=", stall_s=5.0) as events:
        events.wait(lambda: len(events.pictures) >= 10 and len(events.audio) >= 10, 40)
        server.kill()
        events.wait(lambda: events.away, 40)
    assert events.opened[0].container == "mpegts"


def test_nobody_answers_over_srt() -> None:
    needed("srt-live-transmit")
    url = f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}?passphrase=hunter2hunter2"
    with Events(url, open_timeout_s=2.0) as events:
        said = str(events.refusal(40))
    assert "hunter2" not in said
    assert "SRT connection has ended" in said or "no answer" in said


@pytest.mark.parametrize(("retry", "tries"), [("never", 1), ("2", 3), ("auto", 1)])
def test_how_often_is_tried_before_the_first_picture(retry: str, tries: int) -> None:
    with Events(f"rtsp://127.0.0.1:{free_port()}/x", retry=retry) as events:
        assert "refused" in str(events.refusal(40))
    assert len(events.away) == tries - 1


def test_retry_forever_waits_for_the_first_picture(tmp_path: Path) -> None:
    clip = tmp_path / "late.mp4"
    with Events(str(clip), retry="forever", loop=True) as events:
        events.wait(lambda: events.away)
        make_clip(tmp_path / "other.mp4", frames=5).rename(clip)
        events.wait(lambda: events.pictures)
    assert [info.session for info in events.opened] == [0]


def test_no_secret_in_any_command_line(sound_clip: Path) -> None:
    with rtsp_server(sound_clip, user="admin", password="sesame77") as server, Events(server.url()) as events:
        events.wait(lambda: events.pictures)
        child = psutil.Process(events.child_pid)
        assert "sesame77" not in " ".join(child.cmdline())
        assert "sesame77" not in " ".join(child.environ().values())
