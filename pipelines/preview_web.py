"""The preview in a browser, for a machine without a screen: `preview --web`."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

from streamsr.errors import ConfigError
from streamsr.live.address import SourceAddress
from streamsr.report import Watcher
from streamsr.runtime.allocator import keep_freed_memory
from streamsr.runtime.interrupt import interrupts

if TYPE_CHECKING:
    from pipelines.preview_job import PreviewConfig


def preview_web(
    cfg: PreviewConfig, source: SourceAddress | None, listen: str, token: str | None, watcher: Watcher
) -> int:
    """Serves the page on `listen` (HOST:PORT) until Ctrl-C or SIGTERM; the exit code. The link is told to `watcher`.

    `source` None: there is only the camera of whoever opens the page. `token`: what a viewer must know; without one it
    is made where others than this machine can reach the page. Raises ConfigError, SinkError."""
    missing = next((name for name in ("aiohttp", "aiortc") if find_spec(name) is None), None)
    if missing is not None:
        remedy = "Install it: pip install 'streamsr[web]'. Without it there is the preview in a window."
        raise ConfigError(f"the preview in a browser needs {missing}", where="--web", remedy=remedy)
    keep_freed_memory()
    asyncio.run(_serve(cfg, source, listen, token, watcher))
    return 0


async def _serve(
    cfg: PreviewConfig, source: SourceAddress | None, listen: str, token: str | None, watcher: Watcher
) -> None:
    from pipelines.preview_desk import PreviewDesk
    from streamsr.display.web.server import WebServer

    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        # From a signal handler in the middle of the loop's sleep: this wakes it up.
        loop.call_soon_threadsafe(ended.set)

    desk = PreviewDesk(cfg, source, watcher)
    server = WebServer(listen, token, desk)
    with interrupts(end, end):
        await server.start()
        try:
            watcher.notice(f"open {server.url} in a browser; Ctrl-C ends")
            await ended.wait()
        finally:
            await asyncio.gather(server.close(), desk.close())
