"""A page over WebRTC, played by aiortc itself: its camera goes up, pairs come down, words both ways. No browser."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import av
import numpy as np
import pytest

pytest.importorskip("aiortc", reason="needs the extra web")

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)

from streamsr.media import rtc, rtc_encode
from streamsr.media.rtc import BadOffer, RtcPeer
from streamsr.media.rtc_encode import Geometry
from tests.live.chromium import needs_address
from tests.live.flat_pictures import BLUE, RED, RED_YUV, flat_planes, flat_rgb


class RedCamera(VideoStreamTrack):
    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        picture = av.VideoFrame.from_ndarray(flat_rgb(160, 90, RED), "rgb24").reformat(format="yuv420p")
        picture.pts, picture.time_base = pts, time_base
        return picture


class Page:
    """The browser's side."""

    def __init__(self, camera: bool, codec: str | None = None) -> None:
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.heard: list[Mapping[str, Any]] = []
        self.pictures: asyncio.Queue[av.VideoFrame] = asyncio.Queue()
        self.channel = self.pc.createDataChannel("words")
        self.channel.on("message", lambda text: self.heard.append(json.loads(text)))
        transceiver = self.pc.addTransceiver(RedCamera() if camera else "video", "sendrecv" if camera else "recvonly")
        if codec is not None:
            known = RTCRtpSender.getCapabilities("video").codecs
            transceiver.setCodecPreferences([each for each in known if each.mimeType.lower() == f"video/{codec}"])
        self.reader: asyncio.Task[None] | None = None
        self.pc.on("track", self._take)

    def _take(self, track: MediaStreamTrack) -> None:
        self.reader = asyncio.get_running_loop().create_task(self._read(track))

    async def _read(self, track: MediaStreamTrack) -> None:
        while True:
            picture = await track.recv()
            assert isinstance(picture, av.VideoFrame)
            self.pictures.put_nowait(picture)

    async def connect(self, peer: RtcPeer) -> None:
        await self.pc.setLocalDescription(await self.pc.createOffer())
        answer = await peer.answer(self.pc.localDescription.sdp)
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def close(self) -> None:
        if self.reader is not None:
            self.reader.cancel()
        await self.pc.close()


class Listener:
    """What the peer's callbacks were told."""

    def __init__(self) -> None:
        self.messages: list[Mapping[str, Any]] = []
        self.failures: list[str] = []
        self.camera: list[tuple[bytes, int, int, float]] = []
        self.gone = 0

    def on_camera(self, packed: memoryview, width: int, height: int, arrived_s: float) -> None:
        self.camera.append((bytes(packed), width, height, arrived_s))

    def on_gone(self) -> None:
        self.gone += 1

    def peer(self, camera: bool) -> RtcPeer:
        on_camera = self.on_camera if camera else None
        return RtcPeer(False, on_camera, self.messages.append, self.on_gone, self.failures.append)


async def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        await asyncio.sleep(0.02)


def together(camera: bool, act: Callable[[Page, RtcPeer, Listener], Awaitable[None]], codec: str | None = None) -> None:
    needs_address()

    async def run() -> None:
        listener, page = Listener(), Page(camera, codec)
        peer = listener.peer(camera)
        try:
            await page.connect(peer)
            await act(page, peer, listener)
        finally:
            await page.close()
            await peer.close()
        assert not listener.failures

    asyncio.run(run())


async def show_until_picture(page: Page, peer: RtcPeer, size: tuple[int, int], small: tuple[int, int]) -> av.VideoFrame:
    """Shows red upscaled, blue original, until a picture of them has come back."""
    wanted = Geometry.of(size, small)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        peer.show(flat_planes(*size, RED_YUV), flat_rgb(*small, BLUE), time.monotonic())
        try:
            picture = await asyncio.wait_for(page.pictures.get(), 0.05)
        except TimeoutError:
            continue
        if (picture.width, picture.height) == (wanted.width, wanted.height):
            return picture
    raise AssertionError("no picture of this size came back")


@pytest.mark.parametrize("codec", ["h264", "vp8"])
def test_a_pair_arrives_with_both_pictures_and_where_they_lie(codec: str) -> None:
    async def act(page: Page, peer: RtcPeer, listener: Listener) -> None:
        for size, small in (((256, 144), (64, 36)), ((320, 180), (80, 45))):
            picture = await show_until_picture(page, peer, size, small)
            await until(lambda: any(each["type"] == "geometry" for each in page.heard))
            where = page.heard[-1]
            assert (where["width"], where["height"]) == (picture.width, picture.height)
            rgb = picture.to_ndarray(format="rgb24").astype(int)
            for which, color in (("upscaled", RED), ("original", BLUE)):
                x, y, width, height = where[which]
                part = rgb[y : y + height, x : x + width]
                assert part[2:-2, 2:-2].reshape(-1, 3).mean(0) == pytest.approx(color, abs=12), which
        assert peer.sent()["sent"] > 0
        assert peer.sent()["bit_rate"] >= rtc_encode.LEAST_BITS

    together(False, act, codec)


def test_a_pair_too_large_for_h264_asks_the_page_to_come_again() -> None:
    async def act(page: Page, peer: RtcPeer, listener: Listener) -> None:
        planes, small = flat_planes(3840, 2160, RED_YUV), flat_rgb(1920, 1080, BLUE)
        while not page.heard:
            peer.show(planes, small, time.monotonic())
            await asyncio.sleep(0.1)
        assert page.heard[0] == {"type": "again", "codec": "vp8"}
        assert peer.sent()["sent"] == 0

    together(False, act)


def test_the_camera_comes_in_and_words_go_both_ways() -> None:
    async def act(page: Page, peer: RtcPeer, listener: Listener) -> None:
        await until(lambda: page.channel.readyState == "open")
        page.channel.send('{"model": "lite"}')
        page.channel.send("no JSON")
        page.channel.send("[" * 5000)
        page.channel.send("[1]")
        page.channel.send('{"key": true, "alive": true}')
        peer.say({"type": "stats"})
        await until(lambda: listener.camera and len(listener.messages) == 2 and page.heard)
        assert listener.messages[0] == {"model": "lite"}
        assert page.heard[0] == {"type": "stats"}
        packed, width, height, arrived_s = listener.camera[-1]
        assert (width, height) == (160, 90)
        assert len(packed) == width * height * 3 // 2
        assert np.frombuffer(packed, np.uint8)[: width * height].mean() == pytest.approx(RED_YUV[0], abs=6)
        assert abs(time.monotonic() - arrived_s) < 10

    together(True, act)


def test_a_page_that_leaves_is_noticed() -> None:
    async def act(page: Page, peer: RtcPeer, listener: Listener) -> None:
        await until(lambda: page.channel.readyState == "open")
        await page.close()
        await until(lambda: listener.gone == 1)

    together(False, act)


def test_a_page_that_says_nothing_any_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtc, "SILENT_S", 0.2)
    monkeypatch.setattr(rtc, "CARE_S", 0.05)

    async def act(page: Page, peer: RtcPeer, listener: Listener) -> None:
        await until(lambda: listener.gone == 1)

    together(False, act)


@pytest.mark.parametrize("sdp", ["", "nonsense", "v=0\r\nm=video x\r\n", "v=0\r\n" + "a=" * 1000])
def test_a_bad_offer_is_one_line(sdp: str) -> None:
    async def run() -> None:
        peer = Listener().peer(False)
        try:
            with pytest.raises(BadOffer) as caught:
                await peer.answer(sdp)
            assert "\n" not in str(caught.value)
        finally:
            await peer.close()
            await peer.close()

    asyncio.run(run())


def test_closing_is_quick_while_pictures_are_shown() -> None:
    async def act(page: Page, peer: RtcPeer, listener: Listener) -> None:
        await show_until_picture(page, peer, (256, 144), (64, 36))
        stop = threading.Event()
        pair = flat_planes(256, 144, RED_YUV), flat_rgb(64, 36, BLUE)

        def show() -> None:
            while not stop.is_set():
                peer.show(*pair, time.monotonic())
                stop.wait(0.005)

        shower = threading.Thread(target=show)
        shower.start()
        try:
            began = time.monotonic()
            await peer.close()
            assert time.monotonic() - began < 1.8
        finally:
            stop.set()
            shower.join(5)

    together(False, act)
