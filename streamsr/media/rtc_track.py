"""Packets that are already encoded, as aiortc takes them from a track, and how many bits a line is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiortc import MediaStreamTrack

from streamsr.media.rtc_encode import VideoPacket

MOST_WAITING = 16
"""Packets; more wait only while the event loop is held up."""
LOSS_BAD, LOSS_GOOD = 0.05, 0.01


class PacketTrack(MediaStreamTrack):
    """Encoded pictures, as aiortc takes them from a track. On the event loop only."""

    kind = "video"

    def __init__(self, on_lost: Callable[[], None]) -> None:
        super().__init__()
        self._packets: asyncio.Queue[VideoPacket] = asyncio.Queue(MOST_WAITING)
        self._on_lost = on_lost
        self._needs_key = False
        self.dropped = 0

    def put(self, packet: VideoPacket) -> None:
        self._needs_key &= not packet.is_keyframe
        if self._needs_key or self._packets.full():
            self._needs_key = True
            self.dropped += 1
            self._on_lost()
        else:
            self._packets.put_nowait(packet)

    async def recv(self) -> VideoPacket:
        return await self._packets.get()


def next_share(share: float, loss: float) -> float:
    """The part of the full bit rate to send next, after a second with this part (0..1) of the packets lost."""
    if loss > LOSS_BAD:
        return max(0.05, share * 0.75)
    return min(1.0, share * 1.05) if loss < LOSS_GOOD else share
