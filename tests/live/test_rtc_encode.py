"""Pairs of pictures in one, encoded for WebRTC: where they lie, what they cost, what is left out."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("aiortc", reason="needs the extra web")

from streamsr.media.rtc_encode import Geometry, PairEncoder, VideoPacket, bits_for, compose, encoders_for
from streamsr.media.rtc_track import next_share
from tests.live.flat_pictures import BLUE, RED_YUV, flat_planes, flat_rgb


def test_the_bit_rate_suits_the_size() -> None:
    sizes = [(1280, 900), (1920, 1624), (3840, 3240)]
    rates = [bits_for(*size) for size in sizes]
    assert rates == sorted(rates)
    assert rates[0] >= 4_000_000
    assert rates[1] >= 8_000_000
    assert 20_000_000 <= rates[2] <= 40_000_000


def test_a_line_that_loses_packets_gets_less_and_recovers() -> None:
    share = 1.0
    for _ in range(20):
        share = next_share(share, 0.2)
    assert share == pytest.approx(0.05)
    assert next_share(share, 0.03) == share
    for _ in range(100):
        share = next_share(share, 0.0)
    assert share == 1.0


def test_pictures_lie_apart_and_within_the_columns_of_a_hardware_encoder() -> None:
    shape = Geometry.of((3840, 2160), (1920, 1080))
    assert shape.width == 3840
    assert shape.height <= 4096
    assert not shape.fits_h264
    assert Geometry.of((2560, 1440), (1280, 720)).fits_h264
    assert shape.original[1] >= 2160
    odd = compose(flat_planes(64, 36, RED_YUV), flat_rgb(17, 11, BLUE), 0.0).geometry
    assert odd.width % 2 == odd.height % 2 == 0


def test_the_encoder_shows_the_newest_and_counts_what_it_left_out() -> None:
    packets: list[int] = []
    first, go_on = threading.Event(), threading.Event()

    def deliver(packet: VideoPacket, geometry: Geometry) -> None:
        packets.append(packet.pts or 0)
        first.set()
        go_on.wait(10)

    encoder = PairEncoder(encoders_for("h264", False), deliver, lambda text: pytest.fail(text))
    try:
        for number in range(6):
            encoder.put(compose(flat_planes(64, 36, RED_YUV), flat_rgb(16, 8, BLUE), float(number)))
            assert first.wait(10)
        go_on.set()
        deadline = time.monotonic() + 10
        while len(packets) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        go_on.set()
        encoder.close()
    assert packets == [0, 5 * 90_000]
    assert encoder.dropped == 4


def test_an_encoder_that_does_not_open_is_said() -> None:
    failures: list[str] = []
    encoder = PairEncoder(("h264_nvenc_missing",), lambda packet, geometry: None, failures.append)
    encoder.put(compose(flat_planes(64, 36, RED_YUV), flat_rgb(16, 8, BLUE), 0.0))
    deadline = time.monotonic() + 10
    while not failures and time.monotonic() < deadline:
        time.sleep(0.01)
    encoder.close()
    assert len(failures) == 1
