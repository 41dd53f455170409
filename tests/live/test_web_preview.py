"""`preview --web` as users start it: the real program and network, a real Chromium with a camera."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("aiortc", reason="needs the extra web")
pytest.importorskip("aiohttp", reason="needs the extra web")

from tests.live.chromium import chromium, needs_address, needs_chromium, write_camera

ROOT = Path(__file__).resolve().parents[2]
END_S = 4.0
"""From Ctrl-C to the end: two seconds on a machine that does nothing else."""


def started(source: str = "", listen: str = "127.0.0.1:0", token: str = "") -> tuple[subprocess.Popen[str], str]:
    """The running process, and the link that it printed."""
    words = [*([source] if source else []), "--listen", listen, *(["--token", token] if token else [])]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run_stream.py"), "preview", "--web", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        link = re.search(r"http://\S+", line)
        if link:
            return process, link[0]
    process.communicate(timeout=10)
    raise AssertionError("".join(lines))


def ended(process: subprocess.Popen[str]) -> float:
    """Seconds from Ctrl-C to its end, which is a good one."""
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    words, _ = process.communicate(timeout=20)
    assert process.returncode == 0, words
    assert "Traceback" not in words
    return time.monotonic() - began


def kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate(timeout=10)


@pytest.mark.parametrize("source", ["", "lavfi:testsrc2=s=160x90:r=10"])
def test_it_is_seen_in_a_browser_and_ctrl_c_ends_it_while_somebody_looks(source: str, tmp_path: Path) -> None:
    needs_chromium()
    needs_address()
    process, link = started(source)

    async def look() -> None:
        flags = write_camera(tmp_path / "camera.y4m", (81, 90, 240), (41, 240, 110), 320, 180)
        async with chromium(tmp_path, *flags) as (page, _):
            await page.open(link)
            if not source:
                await page.js("document.getElementById('camera').click()")
            await page.until("document.body.dataset.state === 'live'", 60)
            await page.until("/x?\\d+ in, /.test(document.getElementById('stats').innerText)")
            assert await page.js("view.width") > 160
            assert "lite" in await page.js("document.getElementById('model').innerText")
            assert not page.log
            seconds = await asyncio.to_thread(ended, process)
            assert seconds < END_S
            await page.until("document.body.dataset.state === 'ended'")

    try:
        asyncio.run(look())
    finally:
        kill(process)


def test_ctrl_c_ends_it_when_nobody_looks() -> None:
    process, _ = started()
    try:
        assert ended(process) < END_S
    finally:
        kill(process)


def test_a_port_in_use_and_a_bad_token_end_it_at_once() -> None:
    process, link = started()
    try:
        listen = link.removeprefix("http://").removesuffix("/")
        with pytest.raises(AssertionError, match="error: the port is in use"):
            started(listen=listen)
        with pytest.raises(AssertionError, match="error: this token is too easy"):
            started(token="1234")
    finally:
        kill(process)
