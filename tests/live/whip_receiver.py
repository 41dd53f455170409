"""A WHIP endpoint that decodes what it is sent: python whip_receiver.py PORT

POST /whip takes an offer and answers 201 with a Location, whose DELETE ends it. GET /seen says as JSON how many frames
of each kind have been decoded, and the size of the last picture. It says "ready" on its output. Loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import aioice.ice
from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

# aioice leaves 127.0.0.1 out when it looks for its own addresses, and a test must not need another.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


class Endpoint:
    """Its peers, and what they have sent."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {"video": 0, "audio": 0, "size": "", "peers": 0}
        self._peers: dict[str, RTCPeerConnection] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, request: web.Request) -> web.Response:
        peer = RTCPeerConnection()
        self.seen["peers"] += 1
        name = str(self.seen["peers"])
        self._peers[name] = peer

        @peer.on("track")
        def on_track(track: Any) -> None:
            task = asyncio.ensure_future(self._watch(track))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        headers = {"Location": f"/whip/{name}"}
        return web.Response(status=201, text=peer.localDescription.sdp, content_type="application/sdp", headers=headers)

    async def end(self, request: web.Request) -> web.Response:
        peer = self._peers.pop(request.match_info["name"], None)
        if peer is not None:
            await peer.close()
        return web.Response()

    async def tell(self, request: web.Request) -> web.Response:
        return web.json_response(self.seen)

    async def _watch(self, track: Any) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                self.seen[track.kind] += 1
                if track.kind == "video":
                    self.seen["size"] = f"{frame.width}x{frame.height}"


async def serve(port: int) -> None:
    endpoint, app = Endpoint(), web.Application()
    app.router.add_post("/whip", endpoint.begin)
    app.router.add_delete("/whip/{name}", endpoint.end)
    app.router.add_get("/seen", endpoint.tell)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
