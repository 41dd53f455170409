"""Targets that break: each is noticed within a bound, said without secrets, and taken up again; none hurts another."""

from __future__ import annotations

import time
from pathlib import Path

import av
import psutil
import pytest

from streamsr.media.publish import Publisher
from tests.live.packets import Fat, Feed, numbers_in, numbers_of, publishing, wait_until
from tests.live.servers import free_port, mute_server, rtmp_server, rtsp_server, srt_listener, whip_receiver

BUSY_S = 20.0
"""For processes to start on a busy machine."""


def state_of(publisher: Publisher) -> str:
    return publisher.status().state


def wait_live(publisher: Publisher, again: int = 0) -> None:
    wait_until(
        lambda: state_of(publisher) == "live" and publisher.status().reconnects >= again,
        BUSY_S,
        f"live: {publisher.status()}",
    )


def wait_away(publisher: Publisher, within_s: float) -> str:
    """Its error."""
    wait_until(lambda: state_of(publisher) == "away" or publisher.status().error, within_s, f"{publisher.status()}")
    return publisher.status().error


def test_an_rtsp_server_that_is_killed_and_comes_back() -> None:
    with rtsp_server() as server, publishing(server.url("/pub")) as (publisher,), Feed((publisher,)):
        server.wait_for("published /pub", BUSY_S)
        wait_live(publisher)
        server.kill()
        wait_away(publisher, 5)
        server.start()
        server.wait_for("published /pub", BUSY_S)
        wait_live(publisher, again=1)
        with av.open(server.url("/pub_play"), options={"rtsp_transport": "tcp"}, timeout=10.0) as reader:
            assert len([number for number, _ in zip(numbers_of(reader), range(12), strict=False)]) == 12


def test_an_rtmp_server_that_is_killed_and_comes_back() -> None:
    with rtmp_server() as server, publishing(server.url) as (publisher,), Feed((publisher,)):
        wait_live(publisher)
        server.kill()
        wait_away(publisher, 5)
        server.start()
        wait_live(publisher, again=1)
        with av.open(server.http_flv_url, timeout=10.0) as reader:
            assert len([number for number, _ in zip(numbers_of(reader), range(12), strict=False)]) == 12


def test_a_server_that_stalls_is_given_up_and_tried_again(tmp_path: Path) -> None:
    with rtsp_server() as server:
        targets = (server.url("/pub"), f"record:{tmp_path / 'film.mkv'}")
        with publishing(*targets, stall_s=2, end_s=2) as (publisher, recording), Feed((Fat(publisher), recording)):
            wait_live(publisher)
            wait_live(recording)
            server.stall()
            error = wait_away(publisher, 10)
            assert "took nothing for 2 s" in error
            server.resume()
            wait_live(publisher, again=1)
            assert publisher.status().dropped > 0
            assert recording.status().reconnects == recording.status().dropped == 0
    numbers = numbers_in(next(tmp_path.iterdir()))
    assert numbers[:96] == [*range(96)]


def test_a_server_that_never_answers_is_given_up() -> None:
    """FFmpeg holds the interpreter's lock there, for ever."""
    with (
        mute_server() as port,
        publishing(f"rtmp://127.0.0.1:{port}/live/key77", stall_s=1, end_s=1) as (publisher,),
        Feed((publisher,)),
    ):
        error = wait_away(publisher, BUSY_S)
    assert "did not answer for 1 s" in error


def test_closing_a_target_that_hangs_is_bounded() -> None:
    with mute_server() as port, publishing(f"rtmp://127.0.0.1:{port}/live/key77", end_s=1) as (publisher,):
        with Feed((publisher,)):
            wait_until(lambda: _is_connected(port), BUSY_S)
        closing = time.monotonic()
    assert time.monotonic() - closing < 4


def _is_connected(port: int) -> bool:
    return any(
        link.raddr and link.raddr.port == port
        for child in psutil.Process().children()
        for link in child.net_connections("tcp")
    )


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("rtsp://me:geheim77@127.0.0.1:{port}/pub", "connection refused"),
        ("rtmp://127.0.0.1:{port}/live/geheim77", "connection refused"),
        ("whip:http://geheim77@127.0.0.1:{port}/whip", "connection refused"),
        ("srt://127.0.0.1:{port}?passphrase=geheim77geheim77", "no SRT connection"),
        ("rtsp://me:geheim77@nowhere.invalid/pub", ""),
    ],
)
def test_what_cannot_be_reached_is_said_without_secrets(target: str, reason: str) -> None:
    target = target.format(port=free_port())
    with publishing(target, end_s=1, stall_s=5) as (publisher,), Feed((publisher,)):
        error = wait_away(publisher, BUSY_S)
        words = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert reason in error
    assert error
    assert "geheim77" not in error + repr(publisher.status()) + "".join(words)


def test_a_wrong_password_is_said() -> None:
    with (
        rtsp_server(user="me", password="right") as server,
        publishing(server.url("/pub", login="me:geheim77@")) as (publisher,),
        Feed((publisher,)),
    ):
        error = wait_away(publisher, BUSY_S)
    assert "wrong user or password" in error
    assert "geheim77" not in error


def test_a_path_that_the_server_does_not_have_is_said() -> None:
    with rtsp_server() as server, publishing(server.url("/nothing")) as (publisher,), Feed((publisher,)):
        assert "no such path" in wait_away(publisher, BUSY_S)


def test_an_srt_peer_that_is_killed_and_comes_back() -> None:
    with srt_listener() as peer, publishing(f"{peer.url}&streamid=geheim77") as (publisher,), Feed((publisher,)):
        wait_live(publisher)
        # The bridge is a program of others, and takes addresses on its command line only.
        bridges = [child for child in psutil.Process().children(recursive=True) if "srt" in child.name()]
        assert bridges
        assert not [each for each in bridges if "geheim77" in " ".join(each.cmdline())]
        peer.kill()
        wait_until(lambda: state_of(publisher) == "away", 12)
        peer.start()
        wait_live(publisher, again=1)


def test_a_whip_receiver_that_is_killed_and_comes_back() -> None:
    with whip_receiver() as receiver, publishing(f"whip:{receiver.url}") as (publisher,), Feed((publisher,)):
        wait_until(lambda: receiver.frames_seen > 5, 30)
        receiver.kill()
        wait_away(publisher, 10)
        receiver.start()
        wait_until(lambda: receiver.frames_seen > 5, 30)
        wait_live(publisher, again=1)


@pytest.mark.parametrize("signal_", [9, 19], ids=["killed", "stopped"])
def test_a_publisher_process_that_dies_or_hangs_is_replaced(signal_: int) -> None:
    with rtsp_server() as server, publishing(server.url("/pub"), stall_s=2) as (publisher,), Feed((publisher,)):
        wait_live(publisher)
        (child,) = [each for each in psutil.Process().children() if "child_main" in " ".join(each.cmdline())]
        child.send_signal(signal_)
        error = wait_away(publisher, 6)
        assert ("SIGKILL" if signal_ == 9 else "took nothing for 2 s") in error
        wait_live(publisher, again=1)
        assert not child.is_running()
