"""The player page in a real browser: pictures and sound play, near the newest, and go on after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

pytest.importorskip("aiohttp", reason="needs the extra web")

from streamsr.media.publish import Publisher
from tests.live.chromium import chromium
from tests.live.packets import HEIGHT, WIDTH, Feed, publishing, wait_until

BUSY_S = 30.0


def test_the_page_plays_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    with publishing(f"hls:{tmp_path / 'cam'}", listen="127.0.0.1:0") as (publisher,), Feed((publisher,)):
        wait_until((tmp_path / "cam" / "live.m3u8").exists, 20)
        worker = psutil.Process().children()[0]
        asyncio.run(_watch(publisher, worker, tmp_path))


async def _watch(publisher: Publisher, worker: psutil.Process, folder: Path) -> None:
    async with chromium(folder, "--autoplay-policy=no-user-gesture-required") as (page, _):
        await page.open(publisher.watch_url)
        await page.until(f"video.videoWidth === {WIDTH} && video.videoHeight === {HEIGHT}", BUSY_S)
        await page.until("video.currentTime > 1 && !video.paused", BUSY_S)
        assert await page.js("video.webkitAudioDecodedByteCount") > 1000
        behind_s = await page.js("video.buffered.end(video.buffered.length - 1) - video.currentTime")
        assert 0 <= behind_s < 8
        assert (await page.screenshot())[:600].std() > 20
        assert await page.js("document.getElementById('state').textContent") == "live"

        worker.kill()
        wait_until(lambda: publisher.status().reconnects == 1, 20)
        seen_s = await page.js("video.currentTime")
        await page.until(f"video.currentTime > {seen_s} + 4", BUSY_S)
        assert not [line for line in page.log if "404" not in line]
