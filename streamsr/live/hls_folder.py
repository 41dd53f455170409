"""The folder of an HLS target: what the files in it are called, and which of them are ours."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from streamsr.errors import SinkError

PLAYLIST = "live.m3u8"
_LARGEST_PLAYLIST = 1 << 20


@dataclass(frozen=True, slots=True)
class HlsFolder:
    """`stem`: the playlist's name without .m3u8, with which all names of ours begin."""

    folder: Path
    stem: str

    @property
    def playlist(self) -> Path:
        return self.folder / f"{self.stem}.m3u8"

    def is_ours(self, name: str) -> bool:
        """Whether a file of this name was written by us: the playlist, a header, a segment, one of them unfinished."""
        stem = re.escape(self.stem)
        return re.fullmatch(rf"{stem}(\.m3u8|-\d{{4,20}}(\.m4s|-init\.mp4))(\.tmp)?", name) is not None

    def new_number(self) -> int:
        """Of the first segment of a new session: higher than those that are there, and as a rule than those that were.
        To be asked before `clean`."""
        return max(int(time.time()), 1 + max(map(self._number_of, os.listdir(self.folder)), default=0))

    def segment_names(self) -> str:
        """FFmpeg's pattern, as a path."""
        return str(self.folder / self.stem).replace("%", "%%") + "-%d.m4s"

    def header_name(self, number: int) -> str:
        return f"{self.stem}-{number}-init.mp4"

    def clean(self, *, keep_listed: bool) -> None:
        """Removes old files of ours, none of others; with `keep_listed` those stay that the playlist names, which
        somebody may be watching. Raises SinkError where the playlist is not ours."""
        text = self._old_playlist()
        for entry in os.scandir(self.folder):
            if not self.is_ours(entry.name) or not entry.is_file(follow_symlinks=False):
                continue
            if not keep_listed or (entry.name not in text and entry.name != self.playlist.name):
                with suppress(OSError):
                    os.unlink(entry.path)

    def check(self) -> None:
        """Makes the folder. Raises SinkError where nothing can be written, or a foreign playlist is in the way."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._error(f"cannot make the folder: {error.strerror}") from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise self._error("may not write there")
        self._old_playlist()

    def _number_of(self, name: str) -> int:
        match = re.search(r"-(\d+)\.m4s$", name) if self.is_ours(name) else None
        return int(match[1]) if match is not None else 0

    def _old_playlist(self) -> str:
        try:
            with open(self.playlist, encoding="utf-8", errors="replace") as file:
                text = file.read(_LARGEST_PLAYLIST)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise self._error(f"the playlist cannot be read: {error.strerror}") from error
        names = [line for line in text.splitlines() if line and not line.startswith("#")]
        if not text.startswith("#EXTM3U") or not all(map(self.is_ours, names)):
            raise self._error(f"{self.playlist.name} there is not ours")
        return text

    def _error(self, what: str) -> SinkError:
        return SinkError(what, where=str(self.folder), remedy="Choose another folder for hls:.")


def hls_folder(target: str) -> HlsFolder:
    """Of a folder, or of the path of a playlist in it."""
    path = Path(os.path.abspath(target))
    if path.suffix.lower() == ".m3u8":
        return HlsFolder(path.parent, path.stem)
    return HlsFolder(path, Path(PLAYLIST).stem)
