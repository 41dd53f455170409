"""A recording: files that follow one another, each with the moment of its beginning in its name, each playable wherever
it breaks off. Nothing is ever overwritten."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import av

from streamsr.live_frames import OUT_TIME_BASE, AudioFormat, LiveAudio, LiveVideo
from streamsr.media.live_mux import LiveMux, file_output

LEAST_FREE_BYTES = 1 << 20
"""With less no file is begun: it would only be in the way of others."""
_MOST_AT_ONCE = 1000


class Recording:
    """Writes packets into files beside `path`: film.mp4 becomes film-20300102T030405.678Z.mp4. A new one is begun at
    the first key frame once the present one is `rotate_s` seconds long.

    Has the methods of LiveMux, and raises what it raises; OSError too."""

    def __init__(self, path: str, template: bytes, audio: AudioFormat | None, rotate_s: float) -> None:
        self._path, self._template, self._audio = Path(path), template, audio
        self._rotate = round(rotate_s / OUT_TIME_BASE)
        self._mux: LiveMux | None = None
        self._file: Path | None = None
        self._begun = 0

    def open(self) -> None:
        """Nothing: a file is begun with its first picture."""

    def write(self, packet: LiveVideo | LiveAudio) -> bool:
        if isinstance(packet, LiveVideo) and packet.is_keyframe:
            if self._mux is not None and packet.dts - self._begun >= self._rotate:
                self.close()
            if self._mux is None:
                self._begin(packet.dts)
        return self._mux is not None and self._mux.write(packet)

    def close(self) -> None:
        mux, self._mux = self._mux, None
        if mux is not None:
            mux.close()

    def abandon(self) -> None:
        mux, self._mux = self._mux, None
        if mux is not None:
            mux.abandon()
        with suppress(OSError):
            if self._file is not None and self._file.stat().st_size == 0:
                self._file.unlink()

    def _begin(self, dts: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self._path.parent).free < LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path.parent))
        self._file = new_file(self._path, datetime.now(UTC))
        mux = LiveMux(file_output(str(self._file), self._path.suffix.lower()), self._template, self._audio)
        try:
            mux.open()
        except (av.FFmpegError, OSError, ValueError):
            self._mux = mux
            self.abandon()
            raise
        self._mux, self._begun = mux, dts


def new_file(path: Path, now: datetime) -> Path:
    """Makes an empty file, named after `path` and the moment `now`, that was not there before. Raises OSError."""
    for number in range(1, _MOST_AT_ONCE):
        again = f"-{number}" if number > 1 else ""
        moment = f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z"
        candidate = path.with_name(f"{path.stem}-{moment}{again}{path.suffix}")
        with suppress(FileExistsError):
            os.close(os.open(candidate, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o666))
            return candidate
    raise FileExistsError(errno.EEXIST, "too many recordings of this moment are there", str(path))
