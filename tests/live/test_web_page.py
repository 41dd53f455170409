"""The preview's page in a real Chromium, with a camera that shows red on the left and blue on the right. What upscales
here is a stand-in that doubles the size and inverts the colours, so that no half can be taken for the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("aiortc", reason="needs the extra web")
pytest.importorskip("aiohttp", reason="needs the extra web")

from pipelines import preview_desk
from pipelines.preview_desk import PreviewDesk
from pipelines.preview_job import PreviewConfig
from streamsr.display.web.server import WebServer
from streamsr.errors import SourceError
from streamsr.live.address import parse_source
from streamsr.media import rtc, rtc_encode
from streamsr.report import Progress, Report
from tests.live.chromium import Page, chromium, needs_address, needs_chromium, write_camera
from tests.live.inverting_job import BLUE_YUV, RED_YUV, InvertingJob

RED, BLUE, CYAN, YELLOW = (255, 0, 0), (0, 0, 255), (0, 255, 255), (255, 255, 0)
BOX = "(() => { const b = document.getElementById('view').getBoundingClientRect();"
BOX += " return [b.left, b.top, b.width, b.height]; })()"


class Notes:
    """A watcher."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def notice(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, now: Progress) -> None: ...

    def done(self, report: Report) -> None: ...


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_chromium()
    needs_address()
    InvertingJob.made = []
    monkeypatch.setattr(preview_desk, "PreviewJob", InvertingJob)


class Stage:
    """A page that looks at a running server."""

    def __init__(self, page: Page, desk: PreviewDesk, kill: Callable[[], None]) -> None:
        self.page, self.desk, self.kill = page, desk, kill

    async def live(self) -> None:
        await self.page.until("document.body.dataset.state === 'live' && Number(document.body.dataset.shown) > 5")

    async def shows(self, *parts: tuple[float, tuple[int, int, int]]) -> None:
        """That the lower half of the view consists of these columns: (right border as a part of the width, colour).
        In the upper half lie the page's own words."""
        left, top, width, height = (round(value) for value in await self.page.js(BOX))
        top, height = top + height // 2, height // 2
        wanted = np.empty((height, width, 3), np.int16)
        begin = 0
        for border, color in parts:
            wanted[:, begin : round(border * width)] = color
            begin = round(border * width)
        found = (await self.page.screenshot()).astype(np.int16)[top : top + height, left : left + width]
        wrong = np.abs(found - wanted).max(2) > 40
        # The handle and a few columns at each border.
        assert wrong.mean() < 0.04, f"{wrong.mean():.1%} of the view differs"
        assert np.abs(np.median(found - wanted, (0, 1))).max() < 12

    async def text(self, selector: str) -> str:
        words = await self.page.js(f"document.querySelector('{selector}').innerText")
        assert isinstance(words, str)
        return words


def staged(
    folder: Path, flags: tuple[str, ...], act: Callable[[Stage], Awaitable[None]], source: str | None = None
) -> None:
    async def run() -> None:
        desk = PreviewDesk(PreviewConfig(), None if source is None else parse_source(source), Notes())
        server = WebServer("127.0.0.1:0", None, desk)
        await server.start()
        try:
            async with chromium(folder, *flags) as (page, kill):
                await page.open(server.url)
                await act(Stage(page, desk, kill))
        finally:
            await server.close()
            await desk.close()

    asyncio.run(run())


def camera_flags(folder: Path) -> tuple[str, ...]:
    return write_camera(folder / "camera.y4m", RED_YUV, BLUE_YUV)


def test_the_camera_is_seen_upscaled_beside_its_original(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        page = stage.page
        await page.js("document.getElementById('camera').click()")
        await stage.live()
        assert await page.js("[view.width, view.height]") == [1280, 720]
        await stage.shows((0.5, RED), (1.0, YELLOW))
        left, top, width, height = await page.js(BOX)
        middle = top + height / 2
        await page.drag((left + width / 2, middle), (left + width / 4, middle))
        await stage.shows((0.25, RED), (0.5, CYAN), (1.0, YELLOW))
        await page.drag((left + width / 4, middle), (left + width + 50, middle))
        await stage.shows((0.5, RED), (1.0, BLUE))
        assert await page.js("document.getElementById('handle').getAttribute('aria-valuenow')") == "100"
        assert not page.log

    staged(tmp_path, camera_flags(tmp_path), act)


def test_the_servers_source_is_shown_at_once_and_switches_reach_the_job(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        page = stage.page
        await stage.live()
        await stage.shows((0.5, RED), (1.0, YELLOW))
        await page.until("document.getElementById('stats').innerText.includes('160\\u00d790 \\u2192 320\\u00d7180')")
        await page.until("document.getElementById('notices').innerText.includes('this is a stand-in')")
        for name, value in (("model", "animevideov3"), ("scale", "4")):
            choose = f"(() => {{ const s = document.getElementById('{name}'); s.value = '{value}';"
            await page.js(choose + " s.dispatchEvent(new Event('change')); })()")
        job = InvertingJob.made[0]
        await page.until("document.getElementById('stats').innerText.includes('animevideov3 on cpu')")
        assert (job.model, job.scale) == ("animevideov3", 4.0)
        await page.js("document.getElementById('freeze').click()")
        count = await page.js("document.body.dataset.shown")
        await page.until("document.getElementById('stats').innerText.includes('packets lost')")
        await asyncio.sleep(0.3)
        assert await page.js("document.body.dataset.shown") == count
        await page.js("document.getElementById('freeze').click()")
        await page.until(f"Number(document.body.dataset.shown) > {count}")
        await page.js("document.getElementById('stop').click()")
        await page.until("document.body.dataset.state === 'ended'")
        await _until(lambda: not stage.desk.state()["viewers"] and job.ended.is_set())

    staged(tmp_path, (), act, "lavfi:testsrc")


def test_a_snapshot_is_two_pictures_as_they_are(tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    downloads.mkdir()

    async def act(stage: Stage) -> None:
        await stage.page.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        await stage.live()
        await stage.page.js("document.getElementById('snapshot').click()")
        await _until(lambda: len(list(downloads.glob("*.png"))) == 2)
        for which, size, colors in (("original", (90, 160), (RED, BLUE)), ("upscaled", (180, 320), (CYAN, YELLOW))):
            picture = cv2.imread(str(next(downloads.glob(f"*-{which}.png"))))
            assert picture is not None
            assert picture.shape[:2] == size
            for column, color in zip((size[1] // 4, size[1] * 3 // 4), colors, strict=True):
                assert picture[size[0] // 2, column, ::-1].tolist() == pytest.approx(color, abs=14)

    staged(tmp_path, (), act, "lavfi:testsrc")


def test_a_recording_is_a_video_of_the_view(tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    downloads.mkdir()

    async def act(stage: Stage) -> None:
        await stage.page.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        await stage.live()
        await stage.page.js("document.getElementById('record').click()")
        shown = int(await stage.page.js("document.body.dataset.shown"))
        await stage.page.until(f"Number(document.body.dataset.shown) > {shown + 20}")
        await stage.page.js("document.getElementById('record').click()")
        await _until(lambda: [*downloads.glob("*.webm"), *downloads.glob("*.mp4")])

    staged(tmp_path, (), act, "lavfi:testsrc")
    (path,) = downloads.iterdir()
    video = cv2.VideoCapture(str(path))
    try:
        is_read, picture = video.read()
    finally:
        video.release()
    assert is_read
    assert picture.shape[:2] == (180, 320)


def test_without_a_camera_the_page_says_what_to_do(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        await stage.page.js("document.getElementById('camera').click()")
        await stage.page.until("document.body.dataset.state === 'ended'")
        words = await stage.text("#message")
        assert "camera" in words
        assert "server's source" in words
        assert stage.desk.state()["viewers"] == 0

    staged(tmp_path, ("--use-fake-ui-for-media-stream",), act)


def test_a_source_that_fails_is_said_and_the_next_try_begins_anew(tmp_path: Path) -> None:
    async def act(stage: Stage) -> None:
        await stage.live()
        job = InvertingJob.made[0]
        job.error = SourceError("the camera was unplugged", where="rtsp://***@camera", remedy="Plug it in.")
        job.on_end()
        await stage.page.until("document.getElementById('message').innerText.includes('Plug it in.')")
        await stage.page.js("document.getElementById('source').click()")
        await stage.live()
        assert len(InvertingJob.made) == 2

    staged(tmp_path, (), act, "lavfi:testsrc")


def test_a_picture_too_large_for_h264_comes_as_vp8_and_the_choices_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(stage: Stage) -> None:
        page = stage.page
        await stage.live()
        await page.until("document.getElementById('scale').options.length === 3")
        choose = "(() => { const s = document.getElementById('scale'); s.value = '4';"
        await page.js(choose + " s.dispatchEvent(new Event('change')); })()")
        job = InvertingJob.made[0]
        await _until(lambda: job.scale == 4.0)
        job.scale = 2.0
        before = int(await page.js("document.body.dataset.shown"))
        monkeypatch.setattr(rtc_encode, "MOST_BLOCKS_H264", 10)
        await _until(lambda: job.scale == 4.0 and stage.desk.state()["viewers"] == 1)
        await page.until(f"Number(document.body.dataset.shown) > {before + 20}")
        await stage.shows((0.5, RED), (1.0, YELLOW))
        assert len(InvertingJob.made) == 1

    staged(tmp_path, (), act, "lavfi:testsrc")


def test_a_browser_that_dies_is_cleaned_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtc, "SILENT_S", 3.0)

    async def act(stage: Stage) -> None:
        await stage.live()
        assert stage.desk.state()["viewers"] == 1
        stage.kill()
        await _until(lambda: stage.desk.state()["viewers"] == 0)
        await _until(InvertingJob.made[0].ended.is_set)

    staged(tmp_path, (), act, "lavfi:testsrc")


async def _until(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        await asyncio.sleep(0.05)
