"""Parts one after the other: the packets of the whole film, as one encoder would have made them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from streamsr.errors import FrameMismatch, SinkError
from streamsr.frames import Packet
from streamsr.media.codec_parameters import codec_parameters
from streamsr.media.part_file import PartReader


def joined(paths: Sequence[Path]) -> Iterator[Packet]:
    """The packets of the parts at `paths`, in the order of the film. One part is read at a time, two are open.

    The first `next` looks at all parts and raises SinkError when one is missing or damaged, or when the codec
    parameters of two differ; FrameMismatch when a part does not begin after the one before it. A part whose bytes
    are not those written raises SinkError when it is reached."""
    delay = _checked_delay(paths)
    times = decode_times(_shown_times(paths), delay)
    for path in paths:
        with PartReader(path) as part:
            for data, pts, duration, is_keyframe in part.packets():
                yield Packet(data, pts, next(times), duration, part.time_base, is_keyframe)


def reorder_delay(pts: np.ndarray) -> int:
    """How many pictures decoding must run ahead of showing, at least, for pictures decoded in the order of `pts`
    (all different): the smallest for which no `decode_times` is later than its picture's pts."""
    rank = np.empty(len(pts), np.int64)
    rank[np.argsort(pts)] = np.arange(len(pts))
    return int((np.arange(len(pts)) - rank).max(initial=0))


def decode_times(shown: Iterable[int], delay: int) -> Iterator[int]:
    """The dts of all pictures in decode order, from their pts in the order of showing (strictly increasing): the pts
    of `delay` pictures ago. Strictly increasing. Before the first pts the distances of the first pictures are repeated,
    as x264 does. Ends up to `delay` values after the last picture."""
    shown = iter(shown)
    head = list(islice(shown, delay + 1))
    for pts in head[:delay]:
        yield pts - (head[-1] - head[0])
    yield from head
    yield from shown


def _shown_times(paths: Sequence[Path]) -> Iterator[int]:
    for path in paths:
        with PartReader(path) as part:
            times = np.sort(part.index[:, 0])
        yield from times.tolist()


def _checked_delay(paths: Sequence[Path]) -> int:
    delay, before, expected, end = 0, None, {}, 0
    for path in paths:
        with PartReader(path) as part:
            pts = part.index[:, 0]
            found = codec_parameters(part.template) | {"time base": f"{part.time_base} s"}
        if before is None:
            expected = found
        elif differing := [name for name in expected if found[name] != expected[name]]:
            name = differing[0]
            what = f"{paths[0].name} and {path.name} do not fit together: {name} {expected[name]} and {found[name]}"
            raise SinkError(what, where=str(path.parent), remedy="Start anew with --fresh.")
        elif pts.min() <= end:
            what = f"{path.name} begins at {pts.min()}, before {before.name} ends at {end} ticks"
            raise FrameMismatch(what, stage="join", remedy="Start anew with --fresh.")
        before, end = path, int(pts.max())
        delay = max(delay, reorder_delay(pts))
    return delay
