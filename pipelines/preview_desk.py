"""Who looks at the preview in a browser, and at what: one job for the server's source, shared by all who look at it,
and one for each camera that a page sends up."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from pipelines.preview_job import Pair, PreviewConfig, PreviewJob, pushed_info
from streamsr.display.web.server import Refused
from streamsr.errors import StreamSRError
from streamsr.live.address import SourceAddress
from streamsr.media.rtc import BadOffer, RtcPeer
from streamsr.report import Watcher

MOST_VIEWERS = 4
STATS_S = 0.5
SETTLE_S = 3.0
"""How long a new job waits for the old one to let go of the camera."""
END_S = 1.5
"""At the end of the program: jobs that take longer are left to the end of the process."""


class Showing:
    """One job and those who look at it. Belongs to the event loop, except for the job's own callbacks."""

    def __init__(self, source: SourceAddress | None, cfg: PreviewConfig, desk: PreviewDesk) -> None:
        self._desk, self._loop = desk, asyncio.get_running_loop()
        self.job = PreviewJob(source, cfg, self._show, self._notice, self._ended)
        self.peers: tuple[RtcPeer, ...] = ()
        """Replaced, never changed: the job's thread reads it."""
        self.notices: deque[str] = deque(maxlen=4)
        self.is_over = False

    def push(self, packed: memoryview, width: int, height: int, arrived_s: float) -> None:
        """A picture of a browser's camera."""
        self.job.push(packed, pushed_info(width, height), arrived_s)

    def obey(self, message: Mapping[str, Any]) -> None:
        """A wish of the page: only what the job itself has offered."""
        if message.get("model") in self.job.models:
            self.job.set_model(message["model"])
        if message.get("scale") in self.job.scales:
            self.job.set_scale(float(message["scale"]))

    def report(self, peer: RtcPeer) -> Mapping[str, Any]:
        """What a page shows below its picture."""
        stats = {key: _plain(value) for key, value in asdict(self.job.stats()).items()}
        choices = {"models": self.job.models, "scales": self.job.scales, "notices": list(self.notices)}
        return {"type": "stats", **stats, **choices, **peer.sent()}

    def _show(self, pair: Pair) -> None:
        for peer in self.peers:
            peer.show(pair.upscaled, pair.original, pair.arrived_s)

    def _notice(self, text: str) -> None:
        self.notices.append(text)
        self._desk.notice(text)

    def _ended(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._desk.job_ended, self)


class PreviewDesk:
    """Implements `streamsr.display.web.server.Desk`. Everything on the event loop, which is running already."""

    def __init__(self, cfg: PreviewConfig, source: SourceAddress | None, watcher: Watcher) -> None:
        self._cfg, self._source, self._watcher = cfg, source, watcher
        self._hardware = torch.cuda.is_available()
        self._shared: Showing | None = None
        self._viewers: dict[str, tuple[RtcPeer, Showing]] = {}
        self._num_arriving = 0
        self._one_by_one = asyncio.Lock()
        self._closers: list[threading.Thread] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._start(self._tell())

    def state(self) -> Mapping[str, Any]:
        return {"source": None if self._source is None else self._source.masked, "viewers": len(self._viewers)}

    def notice(self, text: str) -> None:
        self._watcher.notice(text)

    async def answer(self, sdp: str, shows: str, codec: str) -> Mapping[str, str]:
        """See `Desk`."""
        if shows not in ("camera", "source"):
            raise Refused(400, "This is no message of the page.")
        if shows == "source" and self._source is None:
            raise Refused(409, "The server was started without a source: give it one, as in: preview rtsp://... --web")
        if len(self._viewers) + self._num_arriving >= MOST_VIEWERS:
            raise Refused(503, f"{MOST_VIEWERS} pages look on already; close one of them and try again.")
        self._num_arriving += 1
        try:
            return await self._admit(sdp, shows, codec)
        finally:
            self._num_arriving -= 1

    async def leave(self, peer: str) -> None:
        viewer = self._viewers.pop(peer, None)
        if viewer is not None:
            self._dismiss(*viewer)
            await viewer[0].close()

    def job_ended(self, showing: Showing) -> None:
        """A job ended by itself: those who look at it are told why, and let go."""
        error = showing.job.error
        text = "The source has ended." if error is None else str(error)
        for name, (peer, theirs) in list(self._viewers.items()):
            if theirs is showing:
                peer.say({"type": "end", "text": text})
                self._start(self._leave_soon(name))
        self._forget(showing)

    async def close(self) -> None:
        """Lets all go; within two seconds."""
        for task in self._tasks:
            task.cancel()
        viewers = list(self._viewers.values())
        self._viewers.clear()
        for peer, showing in viewers:
            peer.say({"type": "end", "text": "The server was stopped."})
            self._dismiss(peer, showing)
        await asyncio.sleep(0)
        await asyncio.gather(*(peer.close() for peer, _ in viewers))
        await self._settled(END_S)

    async def _admit(self, sdp: str, shows: str, codec: str) -> Mapping[str, str]:
        showing = await self._showing(shows)
        name = secrets.token_urlsafe(12)

        def fail(text: str) -> None:
            self.notice(text)
            peer.say({"type": "end", "text": text})
            self._start(self._leave_soon(name))

        on_camera = showing.push if shows == "camera" else None
        peer = RtcPeer(self._hardware, on_camera, showing.obey, lambda: self._start(self.leave(name)), fail)
        self._viewers[name] = peer, showing
        showing.peers = (*showing.peers, peer)
        try:
            return {"sdp": await peer.answer(sdp, codec == "vp8"), "peer": name}
        except BadOffer as error:
            await self.leave(name)
            raise Refused(400, f"No connection: {error}.") from error
        except BaseException:
            self._start(self.leave(name))
            raise

    async def _showing(self, shows: str) -> Showing:
        async with self._one_by_one:
            if shows == "source" and self._shared is not None:
                return self._shared
            await self._settled(SETTLE_S)
            showing = Showing(self._source if shows == "source" else None, self._cfg, self)
            try:
                await asyncio.to_thread(showing.job.start)
            except StreamSRError as error:
                raise Refused(503, str(error)) from error
            if shows == "source":
                self._shared = showing
            return showing

    def _dismiss(self, peer: RtcPeer, showing: Showing) -> None:
        """The last one who goes switches off the light."""
        showing.peers = tuple(each for each in showing.peers if each is not peer)
        if not showing.peers:
            self._forget(showing)

    def _forget(self, showing: Showing) -> None:
        if self._shared is showing:
            self._shared = None
        if showing.is_over:
            return
        showing.is_over = True
        closer = threading.Thread(target=showing.job.close, name="preview-close", daemon=True)
        closer.start()
        self._closers.append(closer)

    async def _settled(self, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while any(closer.is_alive() for closer in self._closers) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        self._closers = [closer for closer in self._closers if closer.is_alive()]

    async def _leave_soon(self, name: str) -> None:
        """After the last word has reached the page."""
        await asyncio.sleep(1.0)
        await self.leave(name)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(STATS_S)
            for peer, showing in list(self._viewers.values()):
                peer.say(showing.report(peer))

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _plain(value: Any) -> Any:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
