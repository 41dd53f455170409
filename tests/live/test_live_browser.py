"""What docs/live.md promises, in front of a viewer's eyes: a real RTSP server, the program, and a browser that plays
the upscaled picture with its sound while the server dies and comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from tests.live import servers
from tests.live.chromium import Page, chromium, needs_chromium
from tests.live.restreaming import Restream
from tests.live.server_process import free_port

AUTOPLAY = "--autoplay-policy=no-user-gesture-required"
VIDEO = "document.querySelector('video')"


async def seconds_played(page: Page) -> float:
    return float(await page.js(f"{VIDEO}.currentTime"))


async def watch(folder: Path, source: servers.RtspServer, program: Restream, url: str) -> None:
    async with chromium(folder, AUTOPLAY) as (page, _):
        await page.open(url)
        await page.until(f"{VIDEO}.videoWidth == 320 && {VIDEO}.currentTime > 0 && !{VIDEO}.paused", 40)
        await page.until(f"{VIDEO}.webkitAudioDecodedByteCount > 0")
        shot = await page.screenshot()
        assert np.ptp(shot[100:500, 200:800]) > 100, "the page shows no picture"

        source.kill()
        await asyncio.to_thread(program.wait, lambda stream: stream["state"] == "away", "away")
        begin = await seconds_played(page)
        await page.until(f"{VIDEO}.currentTime > {begin + 4}", 40)  # on held pictures and silence

        source.restart()
        await asyncio.to_thread(program.wait_live, None, 24)
        begin = await seconds_played(page)
        await page.until(f"{VIDEO}.currentTime > {begin + 3}", 40)
        assert await page.js(f"{VIDEO}.error") is None
        assert not [line for line in page.log if "favicon" not in line]


@pytest.mark.slow
def test_a_browser_plays_on_while_the_source_dies_and_returns(sound_clip: Path, tmp_path: Path) -> None:
    needs_chromium()
    listen = f"127.0.0.1:{free_port()}"
    with (
        servers.rtsp_server(sound_clip) as source,
        Restream(
            tmp_path, "--model", "lite", "--to", "320x180", "--gop", "1", "--listen", listen,
            source.url(), f"hls:{tmp_path}/out",
        ) as program,
    ):  # fmt: skip
        program.wait_live()
        program.wait_targets()
        program.wait_for("watch it at")
        url = next(word.rstrip(".") for word in program.log.split() if word.startswith("http://"))
        asyncio.run(watch(tmp_path, source, program, url))
        program.stop()
