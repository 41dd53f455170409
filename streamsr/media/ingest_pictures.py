"""Decoded pictures of a live source: described, made progressive, and laid into slots. Part of the ingest process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from streamsr.errors import SourceError
from streamsr.live_frames import AudioFormat, LiveInfo
from streamsr.media import color, planes, probe
from streamsr.media.deinterlace import Deinterlacer
from streamsr.media.stamps import Timed

USUAL_RATES = tuple(Fraction(*pair) for pair in ((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1)))


@dataclass(frozen=True, slots=True)
class Moment:
    """Of one picture: seconds of the source's clock, and of time.monotonic() when its packet had come."""

    time_s: float
    arrived_s: float


class Describer:
    """Says what pictures are. The answer is the same object as long as nothing changes."""

    def __init__(self, container: Any, stream: Any, audio: AudioFormat | None, chroma_location: int) -> None:
        self._container, self._stream, self._context = container.format.name, stream, stream.codec_context
        self._audio, self._chroma_location = audio, chroma_location
        self._rate = believable_rate(stream)
        self._seen: tuple[Any, ...] = ()
        self._info: LiveInfo | None = None

    def describe(self, picture: Any) -> LiveInfo:
        """Of session 0: only the parent counts them."""
        seen = (
            picture.width,
            picture.height,
            picture.format.name,
            int(picture.colorspace),
            int(picture.color_range),
            int(picture.color_primaries),
            int(picture.color_trc),
        )
        if self._info is None or seen != self._seen:
            self._seen, self._info = seen, self._made(picture)
        return self._info

    def is_full_range(self, picture: Any, info: LiveInfo) -> bool:
        return color.is_full_range(picture, self._context, codec=info.codec, is_rgb=info.layout.is_rgb)

    def _made(self, picture: Any) -> LiveInfo:
        layout = planes.layout_of(picture.format)
        codec = self._context.codec.canonical_name
        orientation = probe.orientation_of(picture, self._context.name)
        width, height = picture.width, picture.height
        tags = color.source_tags(
            picture,
            self._context,
            codec=codec,
            is_rgb=layout.is_rgb,
            upright_size=(height, width) if orientation.swaps_sides else (width, height),
            chroma_location=self._chroma_location,
        )
        return LiveInfo(
            session=0,
            container=self._container,
            codec=codec,
            width=width,
            height=height,
            layout=layout,
            color=tags,
            rate=self._rate,
            sample_aspect=probe.sample_aspect_of(self._stream)[0],
            orientation=orientation,
            audio=self._audio,
        )


def believable_rate(stream: Any) -> Fraction | None:
    """Pictures per second. A guess from the few packets of a short look is moved to the usual rate beside it."""
    rate = probe.rate_of(stream, [])
    if rate is None:
        return None
    usual = [each * factor for each in USUAL_RATES for factor in (1, 2)]
    nearest = min(usual, key=lambda each: abs(each - rate))
    return nearest if abs(nearest - rate) < rate / 200 else rate.limit_denominator(1001)


class Progressive:
    """Interlaced pictures are deinterlaced, one for one; from the first of them on everything is one picture late."""

    def __init__(self) -> None:
        self._filter: Deinterlacer | None = None
        self._moments: deque[Moment] = deque()

    def push(self, picture: Any, moment: Moment) -> Iterator[tuple[Any, Moment]]:
        """The pictures that are ready, each with its own moment."""
        is_interlaced = bool(picture.interlaced_frame)
        if self._filter is not None and not self._filter.fits(picture):
            yield from self.flush()
        if self._filter is None and not is_interlaced:
            yield picture, moment
            return
        self._filter = self._filter or Deinterlacer(picture)
        self._moments.append(moment)
        for timed in self._filter.push(Timed(picture, 0, 0), keep=not is_interlaced):
            yield timed.picture, self._moments.popleft()

    def flush(self) -> Iterator[tuple[Any, Moment]]:
        """What is still held back."""
        filter_, self._filter = self._filter, None
        if filter_ is not None:
            for timed in filter_.flush():
                yield timed.picture, self._moments.popleft()


class Packer:
    """Copies pictures into slots of `slot_bytes` bytes."""

    def __init__(self, slots: Any, where: str) -> None:
        self._slots, self._where = slots, where
        self._converter: planes.LayoutConverter | None = None
        self._converts: tuple[Any, ...] = ()

    def pack(self, picture: Any, info: LiveInfo, index: int, *, full_range: bool) -> None:
        """Raises SourceError for a picture that is too large for a slot."""
        layout = info.layout
        if layout.num_bytes(info.width, info.height) > self._slots.slot_bytes:
            what = f"pictures of {info.width}x{info.height} are too large for a live stream"
            raise SourceError(what, where=self._where, remedy="Let the source send smaller ones.")
        if self._converter is None or self._converts != (layout, info.color.matrix):
            self._converts = layout, info.color.matrix
            self._converter = planes.LayoutConverter(layout, info.color.matrix)
        converted = self._converter.convert(picture, full_range=full_range)
        targets = layout.planes_of(self._slots.memory(index), info.width, info.height)
        for target, plane in zip(targets, planes.planes_of(converted, layout), strict=True):
            np.copyto(target, plane)
