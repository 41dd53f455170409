"""A headless Chromium for tests, driven over its own debugging protocol: a page, a fake camera, pictures."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse
from aioice.ice import get_host_addresses

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--allow-loopback-in-peer-connection",
    "--hide-scrollbars",
    "--window-size=1000,800",
    "--remote-debugging-port=0",
)
START_S = 40.0
Levels = tuple[int, int, int]


def needs_chromium() -> str:
    """The program's path; skips the test without it."""
    path = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if path is None:
        pytest.skip("needs Chromium (Debian: chromium)")
    return path


def needs_address() -> None:
    """Skips the test where there is nothing but loopback: aiortc does not offer that, and has no other way in."""
    if not get_host_addresses(use_ipv4=True, use_ipv6=True):
        pytest.skip("WebRTC needs a network address besides loopback: ip addr add 10.99.0.1/32 dev lo")


def write_camera(path: Path, left: Levels, right: Levels, width: int = 640, height: int = 360) -> tuple[str, ...]:
    """A fake camera that shows two colours (Y, U, V); the flags that make Chromium use it without asking."""
    planes = []
    for left_level, right_level, (rows, columns) in zip(
        left, right, ((height, width), *[(height // 2, width // 2)] * 2), strict=True
    ):
        plane = np.full((rows, columns), right_level, np.uint8)
        plane[:, : columns // 2] = left_level
        planes.append(plane.tobytes())
    path.write_bytes(
        f"YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420\n".encode() + (b"FRAME\n" + b"".join(planes)) * 4
    )
    fake = "--use-fake-device-for-media-stream"
    return "--use-fake-ui-for-media-stream", fake, f"--use-file-for-fake-video-capture={path}"


class Page:
    """One page. Everything raises where the page does not come to it in time."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.log: list[str] = []
        """Errors and warnings of the page's console, and refusals by its policy."""

    async def read(self) -> None:
        """Takes the browser's answers until it closes."""
        async for message in self._socket:
            words = message.json()
            if "id" in words:
                self._waiting.pop(words["id"]).set_result(words)
            elif words["method"] == "Log.entryAdded":
                self.log.append(words["params"]["entry"]["text"])
            elif words["method"] == "Runtime.exceptionThrown":
                self.log.append(str(words["params"]["exceptionDetails"]))

    async def command(self, method: str, **params: object) -> dict[str, Any]:
        number = next(self._ids)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        answer = await asyncio.wait_for(self._waiting[number], 20)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log"):
            await self.command(f"{domain}.enable")
        await self.command("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.protocol !== 'about:'")

    async def js(self, expression: str) -> Any:
        """The value of a JavaScript expression, or of the promise that it gives, as JSON."""
        answer = await self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, condition: str, seconds: float = 30.0) -> None:
        """Waits for an expression to become true in the page."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not await self.js(f"Boolean({condition})"):
            if loop.time() > deadline:
                text = await self.js("document.body.innerText")
                raise AssertionError(f"not in time: {condition}\n{text}\n{self.log}")
            await asyncio.sleep(0.05)

    async def drag(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        for kind, (x, y), buttons in (
            ("mousePressed", begin, 1),
            ("mouseMoved", end, 1),
            ("mouseReleased", end, 0),
        ):
            place = {"x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1}
            await self.command("Input.dispatchMouseEvent", type=kind, **place)

    async def screenshot(self) -> np.ndarray:
        """(H, W, 3) RGB, as a person sees the page."""
        answer = await self.command("Page.captureScreenshot", format="png")
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(answer["data"]), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        return picture[:, :, ::-1]


@contextlib.asynccontextmanager
async def chromium(folder: Path, *flags: str) -> AsyncIterator[tuple[Page, Callable[[], None]]]:
    """An empty page, and how to kill its browser from one moment to the next. `folder`: for its profile."""
    profile = folder / "profile"
    command = [needs_chromium(), *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
    environment = {**os.environ, "HOME": str(folder)}
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    try:
        port = await _debugging_port(profile / "DevToolsActivePort", process)
        async with ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                pages = [each for each in await response.json() if each["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                reader = asyncio.create_task(page.read())
                try:
                    yield page, kill
                finally:
                    reader.cancel()
    finally:
        kill()


async def _debugging_port(file: Path, process: subprocess.Popen[bytes]) -> int:
    for _ in range(round(START_S / 0.05)):
        with contextlib.suppress(FileNotFoundError, IndexError):
            return int(file.read_text().splitlines()[0])
        assert process.poll() is None, "Chromium ended at its start"
        await asyncio.sleep(0.05)
    raise AssertionError("Chromium did not start in time")
