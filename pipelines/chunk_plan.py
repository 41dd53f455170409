"""A film looked through and cut into chunks, before any of it is upscaled."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from streamsr.chunks.plan import Chunk, Plan, plan_chunks
from streamsr.config import JobConfig
from streamsr.frames import VideoInfo, Window
from streamsr.media.index import index_frames
from streamsr.media.source import open_source
from streamsr.upscale.device import Kind

SAMPLE_S = 2
COLUMNS = ("chunk", "start", "length", "frames", "decoded from")


@dataclass(frozen=True, slots=True)
class Film:
    """`first_pts`: of the earliest picture, in ticks of the file (None: no picture is known). `can_seek`: decoding may
    begin in the middle. `planning_s`: how long it took to find out."""

    info: VideoInfo
    origin: Fraction
    plan: Plan
    first_pts: int | None
    can_seek: bool
    planning_s: float

    @property
    def frames(self) -> int:
        """Pictures by the index."""
        return sum(chunk.frames for chunk in self.plan.chunks)

    def sample(self) -> Chunk:
        """About SAMPLE_S seconds from the middle, or from the beginning where only that is quick to reach."""
        chunk = self.plan.chunks[len(self.plan.chunks) // 2 if self.can_seek else 0]
        window, length = chunk.window, round(SAMPLE_S / self.plan.time_base)
        start = window.start_pts if window.start_pts is not None else self.first_pts
        if start is None:
            return chunk
        end = start + length if window.end_pts is None else min(start + length, window.end_pts)
        return Chunk(chunk.index, Window(window.start_pts, end, window.seek_pts), chunk.frames)

    def rows(self) -> list[tuple[str, ...]]:
        """A row of COLUMNS per chunk. Times in seconds from the first moment of the output."""
        shift, tick = round(self.origin / self.plan.time_base), self.plan.time_base

        def seconds(ticks: int) -> str:
            return f"{float(ticks * tick):.3f} s"

        rows: list[tuple[str, ...]] = []
        for chunk in self.plan.chunks:
            window = chunk.window
            start = window.start_pts if window.start_pts is not None else self.first_pts
            begin = "the beginning" if start is None else seconds(start - shift)
            length = "to the end"
            if window.end_pts is not None and start is not None:
                length = seconds(window.end_pts - start)
            seek = "the beginning" if window.seek_pts is None else seconds(window.seek_pts - shift)
            rows.append((str(chunk.index), begin, length, str(chunk.frames), seek))
        return rows


def look_through(cfg: JobConfig, path: Path, device: Kind, notice: Callable[[str], None]) -> Film:
    """Opens the source, indexes it without decoding, and cuts it into chunks. Raises SourceError; ConfigError when
    scenes are wanted and cannot be found."""
    begun = time.monotonic()
    with open_source(path, cfg.source, device=device, patience_s=cfg.run.patience_s) as source:
        info, origin, (start, end) = source.info, source.origin, source.span_pts
        for line in source.notices:
            notice(line)
    index = index_frames(path, cfg.source)
    cuts = _cuts(path, cfg) if cfg.chunks.scenes else ()
    plan = plan_chunks(index, cfg.chunks.chunk_s, start, end, cuts)
    shown = index.pts if start is None else index.pts[index.pts >= start]
    first = int(shown.min()) if len(shown) else None
    return Film(info, origin, plan, first, not index.trouble, time.monotonic() - begun)


def _cuts(path: Path, cfg: JobConfig) -> tuple[int, ...]:
    from streamsr.media.scenes import find_cuts  # PySceneDetect is an extra

    return tuple(find_cuts(path, cfg.source))
