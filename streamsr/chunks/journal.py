"""The diary of a job: JSON lines that are only ever appended, each on the disk before the job goes on.

A line is {"crc32": "8 hex digits", "record": {"n": its number from 0, "kind": ..., ...}}. The checksum is that of the
record as `json.dumps(record, sort_keys=True, separators=(",", ":"))` writes it. Record 0 is the header."""

from __future__ import annotations

import json
import os
import threading
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamsr.errors import ConfigError, SinkError, as_sink_error

Record = dict[str, Any]
HEADER, VERSION = "streamsr-journal", 1
LINE_BEGIN = b'{"crc32":"'


class Journal:
    """A journal open for appending, by one process. `.records` holds all that was ever written, the header first;
    it is empty for a new file, into which `append_header` has to come first. A torn last line is cut off.

    Raises SinkError where the file cannot be read or written, or has a bad line that is not its last; ConfigError
    where it is a file of another kind or version."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock, self._process = threading.Lock(), os.getpid()
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise write_error(error, path) from error
        try:
            self.records, self._end = parse(_content(self._handle), path)
            os.ftruncate(self._handle, self._end)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) and not isinstance(error, SinkError):
                raise write_error(error, path) from error
            raise

    def append(self, kind: str, **values: Any) -> Record:
        """Returns the record when it is on the disk. From any thread. Raises SinkError; then nothing was written."""
        assert os.getpid() == self._process, "a journal has one writer"
        with self._lock:
            record: Record = {"n": len(self.records), "kind": kind, **values}
            line = _line_of(record)
            try:
                _write_at(self._handle, line, self._end)
                os.fsync(self._handle)
            except OSError as error:
                with suppress(OSError):  # what is left there is a torn last line, which the next reader cuts off
                    os.ftruncate(self._handle, self._end)
                raise write_error(error, self.path) from error
            self._end += len(line)
            self.records.append(json.loads(line)["record"])
            return record

    def append_header(self, **values: Any) -> Record:
        assert not self.records, "the header is the first record"
        record = self.append(HEADER, version=VERSION, **values)
        sync_folder(self.path.parent)
        return record

    def close(self) -> None:
        """May be called again."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


def read_journal(path: Path) -> list[Record]:
    """The records of the journal at `path`, which may be in use; [] where there is none. Raises as Journal does."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SinkError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return parse(content, path)[0]


def parse(content: bytes, path: Path) -> tuple[list[Record], int]:
    """The records in `content`, and where the good lines end. A bad line is dropped if it is the last one."""
    records: list[Record] = []
    end = 0
    while end < len(content):
        newline = content.find(b"\n", end)
        line = content[end : newline + 1 or len(content)]
        record = _record_of(line, len(records)) if newline >= 0 else None
        if record is None:
            _refuse_unless_last(len(content) == end + len(line), len(records), path)
            break
        records.append(record)
        end += len(line)
    _check_header(records, path)
    return records, end


def _refuse_unless_last(is_last: bool, number: int, path: Path) -> None:
    if not is_last and number == 0:
        raise ConfigError("this is not a journal of ours", where=str(path), remedy="Name another --work-dir.")
    if not is_last:
        remedy = "Start anew with --fresh, or restore the file from a backup."
        raise SinkError(f"line {number + 1} of the journal is damaged", where=str(path), remedy=remedy)


def write_error(error: OSError, path: Path) -> SinkError:
    """`error`, which a write to `path` in a work folder raised, in our words."""
    return as_sink_error(error, path, remedy="Choose another --work-dir.")


def sync_folder(folder: Path) -> None:
    """A name that was made or removed there survives a power cut, where the file system knows how."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _line_of(record: Record) -> bytes:
    """Raises TypeError for what JSON does not know, ValueError for NaN."""
    text = _canonical(record)
    return f'{{"crc32":"{zlib.crc32(text.encode()):08x}","record":{text}}}\n'.encode()


def _canonical(record: Record) -> str:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _record_of(line: bytes, number: int) -> Record | None:
    """None for a line that is not record `number` as it was written."""
    try:
        found = json.loads(line)
        record = found["record"]
        is_good = found["crc32"] == f"{zlib.crc32(_canonical(record).encode()):08x}" and record["n"] == number
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return record if is_good else None


def _check_header(records: list[Record], path: Path) -> None:
    if records and (records[0].get("kind"), records[0].get("version")) != (HEADER, VERSION):
        what = f"this journal has version {records[0].get('version')}, not {VERSION}"
        raise ConfigError(what, where=str(path), remedy="Start anew with --fresh, or name another --work-dir.")


def _write_at(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def _content(handle: int) -> bytes:
    with open(os.dup(handle), "rb") as file:
        return file.read()
