"""A live stream as a station sees it: where its pictures come from and where they go."""

from __future__ import annotations

from typing import Protocol

from streamsr.config import UpscaleConfig
from streamsr.frames import ColorTags, PixelLayout
from streamsr.live_frames import LivePicture
from streamsr.runtime.slots import Slot


class Feed(Protocol):
    """One stream. All methods are called on the station's thread and must not block.

    `rungs`: the models from the wanted one down, at last perhaps "resize"; `width`, `height`, `layout`, `color` are the
    output's. None of these changes while the feed is with a station."""

    @property
    def name(self) -> str: ...
    @property
    def rungs(self) -> tuple[str, ...]: ...
    @property
    def upscale(self) -> UpscaleConfig: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def layout(self) -> PixelLayout: ...
    @property
    def color(self) -> ColorTags: ...

    def ready(self) -> bool:
        """Whether a picture waits and a slot can be had. Called with the station's `ready` held."""

    def take(self) -> LivePicture | None:
        """The next picture, which is the station's to release; None: there is none after all."""

    def lease(self) -> Slot | None:
        """Where the next result goes; None: the encoder is behind."""

    def deliver(self, picture: LivePicture, slot: Slot, started_s: float, ended_s: float) -> None:
        """The result is in `slot`, which is the feed's from now on; the slot of `picture` is released already. The
        moments, of time.monotonic(), are those of its batch."""

    def failed(self, error: Exception) -> None:
        """A picture could not be upscaled; both its slots are released. The next one is tried again."""
