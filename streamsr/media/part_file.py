"""The file of a part: the packets of one chunk in one file, bit for bit, with their times in ticks.

The file is a ZIP archive without compression, as no video container keeps all packets as an encoder made them: none
keeps uneven durations, MP4 and MOV change the bytes of H.264, HEVC and AV1, Matroska rounds times to milliseconds, NUT
has no ProRes. Its members:

  part.json   version and time base
  template    the file of `Encoder.stream_template`, as it is
  packets     the bytes of all packets in decode order, one after the other; for H.264 and HEVC an Annex B stream
  index.npy   int64, one row per packet: pts, duration, number of bytes, 1 for a key frame

Equal packets make equal files."""

from __future__ import annotations

import io
import json
import os
import zipfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from streamsr.errors import FrameMismatch, SinkError, StreamSRError, as_sink_error
from streamsr.frames import Packet
from streamsr.runtime.meters import pulse

VERSION = 1
COLUMNS = 4
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of all members: equal packets make equal files
_DAMAGED = (zipfile.BadZipFile, EOFError, KeyError, ValueError, OSError, NotImplementedError)


def write_members(file: IO[bytes], path: Path, first: Packet, packets: Iterator[Packet], blank: bytes) -> np.ndarray:
    """The index of what was written. `file` is flushed to the disk, and closed after a failure."""
    rows = array("q")
    archive: zipfile.ZipFile | None = None
    try:
        with part_writing(path):
            archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
            header = {"version": VERSION, "time_base": str(first.time_base)}
            archive.writestr(_member("part.json"), json.dumps(header))
            archive.writestr(_member("template"), blank)
            member = archive.open(_member("packets"), "w", force_zip64=True)
        packet: Packet | None = first
        while packet is not None:
            _refuse_misfit(packet, first, len(rows) // COLUMNS)
            rows.extend((packet.pts, packet.duration, len(packet.data), packet.is_keyframe))
            with part_writing(path):
                member.write(packet.data)
            pulse()
            packet = next(packets, None)
        index = np.frombuffer(rows, np.int64).reshape(-1, COLUMNS)
        with part_writing(path):
            member.close()
            content = io.BytesIO()
            np.save(content, index)
            archive.writestr(_member("index.npy"), content.getvalue())
            archive.close()
            file.flush()
            os.fsync(file.fileno())
        return index
    except BaseException:
        with suppress(OSError):  # its last bytes have no room either
            file.close()
        if archive is not None:
            archive.fp = None  # else its finalizer would complete the archive in a file that is gone
        raise


def _refuse_misfit(packet: Packet, first: Packet, number: int) -> None:
    if not first.is_keyframe or packet.pts < first.pts:
        raise FrameMismatch("a part begins with a picture that is not its first key frame", stage="part", index=number)
    if packet.time_base != first.time_base:
        what = f"the time base changes from {first.time_base} to {packet.time_base} s"
        raise FrameMismatch(what, stage="part", index=number)


class PartReader:
    """An open part, a context manager. `.template`, `.time_base`, `.index` (see the top). Raises SinkError where the
    file is missing or damaged, at opening or while reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._reading():
            self._archive = zipfile.ZipFile(path)
            try:
                header = json.loads(self._archive.read("part.json"))
                if header["version"] != VERSION:
                    raise ValueError(f"version {header['version']} is not {VERSION}")
                self.time_base = Fraction(header["time_base"])
                self.template = self._archive.read("template")
                self.index = np.load(io.BytesIO(self._archive.read("index.npy")), allow_pickle=False)
                size = self._archive.getinfo("packets").file_size
                if self.index.ndim != 2 or self.index.shape[1] != COLUMNS or self.index[:, 2].sum() != size:
                    raise ValueError("the index does not fit the packets")
            except BaseException:
                self._archive.close()
                raise

    def __enter__(self) -> PartReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive.close()

    def packets(self) -> Iterator[tuple[bytes, int, int, bool]]:
        """(data, pts, duration, is_keyframe) in decode order. The checksum is compared after the last."""
        with self._reading():
            member = self._archive.open("packets")
        with member:
            for pts, duration, num_bytes, is_keyframe in self.index.tolist():
                with self._reading():
                    data = member.read(num_bytes)
                    if len(data) != num_bytes:
                        raise EOFError("it ends too early")
                yield data, pts, duration, bool(is_keyframe)
            with self._reading():
                member.read(1)  # the end, at which zipfile compares the checksum

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except StreamSRError:
            raise
        except _DAMAGED as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise damaged(self.path, reason) from error


def damaged(path: Path, reason: str) -> SinkError:
    """The error for a part that cannot be used."""
    remedy = "Run the same command again: this part is made anew."
    return SinkError(f"a part is damaged: {reason}", where=str(path), remedy=remedy)


def span_of(index: np.ndarray) -> tuple[int, int]:
    """Where the pictures of a part begin and end, in ticks."""
    last = int(index[:, 0].argmax())
    return int(index[:, 0].min()), int(index[last, 0] + index[last, 1])


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, _EPOCH)


@contextmanager
def part_writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise as_sink_error(error, path) from error
