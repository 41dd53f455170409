"""A browser over WebRTC: its camera comes in, pairs of pictures go out. The only place that imports aiortc.

Packets are encoded here (rtc_encode.py) and handed to aiortc as they are: its own encoders stop at 3 Mb/s for H.264 and
1.5 Mb/s for VP8, which is enough for 720p. No server is asked for an address (no STUN, no TURN)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiortc.rtcrtpsender
import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidAccessError, InvalidStateError
from aiortc.mediastreams import MediaStreamError
from aiortc.stats import RTCRemoteInboundRtpStreamStats

from streamsr.media.rtc_encode import Geometry, PairEncoder, RtcCodec, VideoPacket, compose, encoders_for
from streamsr.media.rtc_track import PacketTrack, next_share

__all__ = ["BadOffer", "CameraPicture", "RtcPeer"]

MOST_MESSAGE = 4096
"""Letters of a message from the page."""
CARE_S = 1.0
SILENT_S = 15.0
"""A page says something every second. One that does not has gone without a word."""
CODECS: tuple[RtcCodec, ...] = ("h264", "vp8")

CameraPicture = Callable[[memoryview, int, int, float], None]
"""(I420 packed, BT.601, limited range; width; height; time.monotonic() when it came)"""

# A key picture of 4K takes hundreds of packets. aiortc keeps 128 for a receiver that asks for one again, so that one
# lost at the beginning of such a picture could not be had any more.
vars(aiortc.rtcrtpsender)["RTP_HISTORY_SIZE"] = 4096
logging.getLogger("aioice").setLevel(logging.WARNING)


class BadOffer(Exception):
    """What the browser asks for cannot be answered. One line."""


class RtcPeer:
    """One page. Made, answered and closed on its event loop; `show` and `say` may be called from any thread.

    `on_camera` None: the page only looks. All callbacks come on the event loop except `on_camera`, which comes on a
    thread. `on_gone`: once, when the page went away; `close` is still to be called. `fail`: no encoder works."""

    def __init__(
        self,
        hardware: bool,
        on_camera: CameraPicture | None,
        on_message: Callable[[Mapping[str, Any]], None],
        on_gone: Callable[[], None],
        fail: Callable[[str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        # An empty list: without one aiortc asks a public STUN server.
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._hardware, self._fail = hardware, fail
        self._on_camera, self._on_message, self._on_gone = on_camera, on_message, on_gone
        self._track = PacketTrack(self._lost)
        self._channel: RTCDataChannel | None = None
        self._encoder: PairEncoder | None = None
        self._geometry: Geometry | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._heard_s = time.monotonic()
        self._is_gone = self._is_closed = False
        self._share = 1.0
        self._codec: RtcCodec | None = None
        self.camera_dropped = 0
        """Pictures of the browser's camera that came while one was still being taken over."""

    async def answer(self, sdp: str, only_vp8: bool = False) -> str:
        """The answer to an offer, with all addresses in it. Raises BadOffer.

        H.264 where the browser takes it; `only_vp8`: for pictures that are too large for that, see `show`."""
        pc = self._pc
        way = "sendonly" if self._on_camera is None else "sendrecv"
        transceiver = pc.addTransceiver(self._track, direction=way)
        wanted = [f"video/{name}" for name in CODECS if name == "vp8" or not only_vp8]
        known = RTCRtpSender.getCapabilities("video").codecs
        chosen = [each for name in wanted for each in known if each.mimeType.lower() == name]
        transceiver.setCodecPreferences([*chosen, *(each for each in known if each.mimeType.lower() == "video/rtx")])
        pc.on("datachannel", self._take_channel)
        pc.on("track", self._take_track)
        pc.on("connectionstatechange", self._look_at_state)
        try:
            await pc.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
            await pc.setLocalDescription(await pc.createAnswer())
        except (ValueError, KeyError, IndexError, AttributeError, AssertionError, TypeError) as error:
            raise BadOffer(f"this is no offer of a page of ours: {type(error).__name__}") from error
        except (InvalidStateError, InvalidAccessError) as error:
            raise BadOffer(f"the browser asks for what cannot be: {error}") from error
        text = pc.localDescription.sdp
        codec = self._codec = _codec_of(text)
        if codec is None:
            raise BadOffer("this browser takes neither H.264 nor VP8 over WebRTC; try Chromium or Firefox")
        if "a=candidate" not in text:
            raise BadOffer("this machine has no network address besides loopback, and WebRTC needs one")
        if not self._is_closed:
            self._encoder = PairEncoder(encoders_for(codec, self._hardware), self._deliver, self._failed)
            self._start(self._care())
        return text

    def show(self, upscaled: Sequence[np.ndarray], original: np.ndarray, time_s: float) -> None:
        """A pair, as `compose` takes it; copied before this returns. Newest wins. Any thread.

        Where it is too large for H.264 the page is asked to connect anew for VP8: a connection keeps its codec."""
        encoder = self._encoder
        if encoder is None or self._pc.connectionState != "connected":
            return
        rows, columns = upscaled[0].shape
        geometry = Geometry.of((columns, rows), (original.shape[1], original.shape[0]))
        if self._codec == "h264" and not geometry.fits_h264:
            self.say({"type": "again", "codec": "vp8"})
        else:
            encoder.put(compose(upscaled, original, time_s))

    def say(self, message: Mapping[str, Any]) -> None:
        """To the page, as JSON; nothing while it does not listen. Any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._say, message)

    def sent(self) -> Mapping[str, int]:
        """Counts for the page."""
        encoder = self._encoder
        if encoder is None:
            return {"sent": 0, "encoder_dropped": 0, "bit_rate": 0, "camera_dropped": self.camera_dropped}
        return {
            "sent": encoder.sent,
            "encoder_dropped": encoder.dropped + self._track.dropped,
            "bit_rate": encoder.bit_rate,
            "camera_dropped": self.camera_dropped,
        }

    async def close(self) -> None:
        """Idempotent; within about a second."""
        if self._is_closed:
            return
        self._is_closed = self._is_gone = True
        if self._encoder is not None:
            # Its thread only signals the loop, so that waiting for it here cannot lock; an encode takes milliseconds.
            self._encoder.close(0.5)
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(self._pc.close(), 1.0)

    def _take_channel(self, channel: RTCDataChannel) -> None:
        self._channel = channel
        channel.on("message", self._take_message)
        self._tell_geometry()

    def _take_message(self, text: str | bytes) -> None:
        self._heard_s = time.monotonic()
        message: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            message = json.loads(text) if isinstance(text, str) and len(text) <= MOST_MESSAGE else None
        if not isinstance(message, dict):
            return
        if message.get("key") is True and self._encoder is not None:
            self._encoder.want_key()
        self._on_message(message)

    def _take_track(self, track: MediaStreamTrack) -> None:
        if self._on_camera is not None and track.kind == "video":
            self._start(self._take_camera(track, self._on_camera))

    async def _take_camera(self, track: MediaStreamTrack, on_camera: CameraPicture) -> None:
        """Reads without a pause, as aiortc's own queue has no bound; what comes while a picture is taken over is
        dropped."""
        busy: asyncio.Future[None] | None = None
        try:
            while True:
                picture = await track.recv()
                arrived_s = time.monotonic()
                if not isinstance(picture, av.VideoFrame):
                    continue
                if busy is not None and not busy.done():
                    self.camera_dropped += 1
                    continue
                if busy is not None:
                    busy.result()
                busy = self._loop.run_in_executor(None, _take_over, picture, on_camera, arrived_s)
        except MediaStreamError:
            self._leave()

    def _look_at_state(self) -> None:
        if self._pc.connectionState in ("failed", "closed"):
            self._leave()
        elif self._pc.connectionState == "connected" and self._encoder is not None:
            self._encoder.want_key()

    async def _care(self) -> None:
        """Once a second: is the page still there, and how much does the line carry."""
        while True:
            await asyncio.sleep(CARE_S)
            if time.monotonic() - self._heard_s > SILENT_S:
                self._leave()
                return
            losses = [
                each.fractionLost / 256
                for each in (await self._pc.getStats()).values()
                if isinstance(each, RTCRemoteInboundRtpStreamStats)
            ]
            self._share = next_share(self._share, max(losses, default=0.0))
            if self._encoder is not None:
                self._encoder.set_share(self._share)

    def _deliver(self, packet: VideoPacket, geometry: Geometry) -> None:
        """On the encoder's thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._send, packet, geometry)

    def _send(self, packet: VideoPacket, geometry: Geometry) -> None:
        if geometry != self._geometry:
            self._geometry = geometry
            self._tell_geometry()
        self._track.put(packet)

    def _tell_geometry(self) -> None:
        """Before the first picture of a new size, which the page takes apart by it."""
        shape = self._geometry
        if shape is not None:
            where = {"upscaled": shape.upscaled, "original": shape.original}
            self._say({"type": "geometry", "width": shape.width, "height": shape.height, **where})

    def _say(self, message: Mapping[str, Any]) -> None:
        channel = self._channel
        if channel is not None and channel.readyState == "open" and channel.bufferedAmount < 1_000_000:
            channel.send(json.dumps(message))

    def _lost(self) -> None:
        """A packet was left out, so that all up to the next key picture are worthless."""
        if self._encoder is not None:
            self._encoder.want_key()

    def _failed(self, text: str) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._fail, text)

    def _leave(self) -> None:
        if not self._is_gone:
            self._is_gone = True
            self._on_gone()

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(f"the connection broke: {type(error).__name__}: {error}")


def _take_over(picture: av.VideoFrame, on_camera: CameraPicture, arrived_s: float) -> None:
    width, height = picture.width // 2 * 2, picture.height // 2 * 2
    packed: Any = np.ascontiguousarray(picture.reformat(width, height, "yuv420p").to_ndarray())
    on_camera(memoryview(packed).cast("B"), width, height, arrived_s)


def _codec_of(sdp: str) -> RtcCodec | None:
    """The codec of an answer: the first payload type of its video."""
    first = next((line.split()[3] for line in sdp.splitlines() if line.startswith("m=video ")), None)
    line = next((line for line in sdp.splitlines() if line.startswith(f"a=rtpmap:{first} ")), "")
    name = line.partition(" ")[2].partition("/")[0].lower()
    return next((codec for codec in CODECS if codec == name), None)
