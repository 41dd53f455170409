"""The file being written: under a hidden name beside its target until it is complete."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from streamsr.errors import ConfigError, SinkError, as_sink_error

LEAST_FREE_BYTES = 16 << 20
_LONGEST_NAME = 255


class TargetFile:
    """Claims the hidden file `.<stem>.<pid>.part<suffix>` beside `target`; `commit` renames it, `discard` removes it.

    Leftovers of dead processes for the same target are removed. Raises ConfigError if the target is the source, and
    SinkError if the target exists and may not be replaced, or if nothing can be written there."""

    def __init__(self, target: Path, source_path: str, overwrite: bool) -> None:
        self.target = Path(os.path.abspath(target))
        self._overwrite = overwrite
        if _same_file(self.target, source_path):
            raise ConfigError("the output is the input itself", where=str(target), remedy="Name another output file.")
        if self.target.is_dir():
            raise SinkError("the output is a folder", where=str(target), remedy="Name a file in it.")
        self._refuse_existing()
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            free = shutil.disk_usage(self.target.parent).free
            if free < LEAST_FREE_BYTES:
                raise SinkError("no space left on the device", where=str(self.target.parent), remedy="Free some space.")
            self.part = self.target.with_name(_part_name(self.target, os.getpid()))
            os.close(os.open(self.part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, 0o666))
        except OSError as error:
            raise as_sink_error(error, self.target) from error

    def commit(self) -> None:
        """Makes the complete file appear under its name, at once, and lasting through a power cut."""
        try:
            _sync(self.part)
            if self._overwrite:
                os.replace(self.part, self.target)
            else:
                self._rename_without_replacing()
            with suppress(OSError):  # not every file system can sync a folder; the data itself is safe
                _sync(self.target.parent)
        except OSError as error:
            raise as_sink_error(error, self.target) from error

    def discard(self) -> None:
        """Removes the part file. May be called at any time, and again."""
        with suppress(OSError):
            self.part.unlink()

    def _rename_without_replacing(self) -> None:
        try:
            os.link(self.part, self.target)
        except FileExistsError:
            self._refuse_existing()
            raise
        except OSError:  # a file system without hard links
            self._refuse_existing()
            os.rename(self.part, self.target)
        else:
            self.part.unlink()

    def _refuse_existing(self) -> None:
        if os.path.lexists(self.target) and not self._overwrite:
            raise SinkError("the output exists", where=str(self.target), remedy="Use --overwrite to replace it.")

    def _remove_leftovers(self) -> None:
        before, after = _part_name(self.target, 0).rsplit(".0.part", 1)
        mark = re.compile(re.escape(before) + r"\.(\d+)\.part" + re.escape(after))
        for entry in os.scandir(self.target.parent):
            match = mark.fullmatch(entry.name)
            if match and not _is_alive(int(match[1])):
                with suppress(OSError):
                    os.unlink(entry.path)


def _same_file(target: Path, source_path: str) -> bool:
    try:
        return os.path.samefile(target, source_path)
    except OSError:
        return False


def _part_name(target: Path, pid: int) -> str:
    rest = f".{pid}.part{target.suffix}"
    room = _LONGEST_NAME - len(f"..{10**9}.part") - len(os.fsencode(target.suffix))
    stem = os.fsencode(target.stem)[:room].decode("utf-8", "ignore")
    return f".{stem}{rest}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
