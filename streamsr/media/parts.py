"""A part: the packets of one chunk, written so that they are all there or not at all, and checked. See part_file."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from streamsr.errors import FrameMismatch
from streamsr.frames import Packet
from streamsr.media.codec_parameters import codec_parameters, parameters_digest
from streamsr.media.part_file import PartReader, damaged, part_writing, span_of, write_members
from streamsr.runtime.meters import pulse


@dataclass(frozen=True, slots=True)
class PartFacts:
    """What a finished part holds. `first_pts` is the earliest picture's, `end_pts` where the last one shown ends, in
    ticks of `time_base`. `sha256` is that of the whole file, `parameters` that of the codec parameters."""

    frames: int
    first_pts: int
    end_pts: int
    time_base: Fraction
    num_bytes: int
    sha256: str
    parameters: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"time_base": str(self.time_base)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PartFacts:
        return cls(**values | {"time_base": Fraction(values["time_base"])})


def write_part(path: Path, packets: Iterator[Packet], template: Callable[[], bytes]) -> PartFacts:
    """Writes `packets`, all of one time base and in decode order, and lets `path` appear when all of them lie on the
    disk. `template` is called once, after the first packet. What was at `path` is replaced.

    Raises FrameMismatch when there is no packet, or the first is not a key frame before which nothing is shown;
    SinkError when the file cannot be written; and whatever `packets` raises. Then nothing is left behind."""
    first = next(packets, None)
    if first is None:
        raise FrameMismatch("no packet for a part", stage="part", index=0)
    blank = template()
    parameters = parameters_digest(codec_parameters(blank))
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with part_writing(path):
            file = open(hidden, "xb")  # noqa: SIM115 - closed below, where its errors are told from those of packets
        index = write_members(file, path, first, packets, blank)
        with part_writing(path):
            file.close()
            with open(hidden, "rb") as written:
                digest = hashlib.file_digest(written, "sha256").hexdigest()
            os.replace(hidden, path)
            _sync_folder(path.parent)
            num_bytes = path.stat().st_size
    except BaseException:
        with suppress(OSError):
            hidden.unlink()
        raise
    start, end = span_of(index)
    return PartFacts(len(index), start, end, first.time_base, num_bytes, digest, parameters)


def check_part(path: Path, facts: PartFacts, *, decode: bool = False, threads: int = 1) -> None:
    """Compares the file at `path` with `facts`; with `decode` all its pictures are decoded on `threads` threads too.

    Raises SinkError where the file is missing or has other bytes, FrameMismatch where its pictures are not as many as
    they should be, at other times, or cannot be decoded."""
    with PartReader(path) as part:
        _compare_bytes(path, facts)
        start, end = span_of(part.index)
        found = PartFacts(
            frames=len(part.index),
            first_pts=start,
            end_pts=end,
            time_base=part.time_base,
            num_bytes=facts.num_bytes,
            sha256=facts.sha256,
            parameters=parameters_digest(codec_parameters(part.template)),
        )
        if found != facts:
            raise damaged(path, f"it holds {found}, not {facts}")
        if decode:
            _compare_pictures(part, threads)


def _compare_bytes(path: Path, facts: PartFacts) -> None:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != facts.sha256:
        raise damaged(path, "its bytes are not those that were written")


def _compare_pictures(part: PartReader, threads: int) -> None:
    wanted = np.sort(part.index[:, 0]).tolist()
    count = 0
    try:
        for pts in _decoded_times(part, threads):
            expected = wanted[count] if count < len(wanted) else None
            if pts is None or pts != expected:
                found = "a damaged picture" if pts is None else f"a picture at {pts}"
                what = f"{part.path.name} decodes to {found}, not to one at {expected}"
                raise FrameMismatch(what, stage="check", index=count)
            count += 1
    except (av.FFmpegError, ValueError) as error:
        what = f"{part.path.name} cannot be decoded: {getattr(error, 'strerror', None) or error}"
        raise FrameMismatch(what, stage="check", index=count) from error
    if count != len(wanted):
        what = f"{part.path.name} decodes to {count} pictures, not {len(wanted)}"
        raise FrameMismatch(what, stage="check", index=count)


def _decoded_times(part: PartReader, threads: int) -> Iterator[int | None]:
    """The pts of the pictures as a decoder shows them; of one that is marked as corrupt, None."""
    with av.open(io.BytesIO(part.template)) as template:
        context: Any = template.streams.video[0].codec_context
        assert isinstance(context, VideoCodecContext)
        context.thread_count, context.thread_type = threads, "AUTO"
        # It smooths pixels, which nobody looks at here, for a tenth of the time.
        context.options = {"skip_loop_filter": "all"}
        for data, pts, _, is_keyframe in part.packets():
            packet: Any = av.Packet(data)
            packet.pts, packet.time_base, packet.is_keyframe = pts, part.time_base, is_keyframe
            for frame in context.decode(packet):
                yield None if frame.is_corrupt else frame.pts
            pulse()
        for frame in context.decode(None):
            yield None if frame.is_corrupt else frame.pts


def template_of(path: Path) -> bytes:
    """The template that was given with the part's packets. Raises SinkError."""
    with PartReader(path) as part:
        return part.template


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every file system can sync a folder; the data itself is safe
            os.fsync(handle)
    finally:
        os.close(handle)
