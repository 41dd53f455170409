"""One job per folder: a lock that the system lets go of when its process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from streamsr.chunks.journal import write_error
from streamsr.errors import ConfigError

NAME = "lock"


class FolderLock:
    """Holds `folder`/lock until `close`. Raises ConfigError, with the other's process, while somebody else does;
    SinkError where there can be no such file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        try:
            while (handle := self._attempt()) is None:
                pass
        except OSError as error:
            raise write_error(error, self._path) from error
        self._handle: int | None = handle

    def _attempt(self) -> int | None:
        """None: the owner removed the file while we waited for it."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                is_same = os.path.samestat(os.fstat(handle), os.stat(self._path))
            except FileNotFoundError:
                is_same = False
            if is_same:
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
                return handle
        except BlockingIOError:
            owner = os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(handle)
            remedy = "Wait for it, or name another --work-dir."
            raise ConfigError(f"{owner} works in this folder", where=str(self._path.parent), remedy=remedy) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        return None

    def remove(self) -> None:
        """Removes the file, still locked. Raises OSError."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
        self._handle = None
