"""How numbers and names read on a terminal."""

from __future__ import annotations

from pathlib import PurePath

from streamsr.report import Progress


def printable(text: str) -> str:
    """`text` on one line with control characters escaped: a file's name must not move the cursor."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def size_text(num_bytes: float) -> str:
    """As "812 MB" or "2.4 GB" (powers of 1000)."""
    if num_bytes >= 999.5e6:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.0f} MB"


def time_text(seconds: float | None) -> str:
    """As "0:07" or "1:02:33"; "-:--" when unknown."""
    if seconds is None or not 0 <= seconds < 1e7:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def frames_text(now: Progress) -> str:
    return f"{now.frames}/{now.total}" if now.total else f"{now.frames}"


def progress_line(now: Progress) -> str:
    """The whole state as one line, for logs."""
    percent = f" ({100 * now.frames / now.total:.0f} %)" if now.total else ""
    return printable(
        f"{PurePath(now.file).name}: {frames_text(now)} frames{percent}, {now.fps:.1f} fps, ETA {time_text(now.eta_s)},"
        f" slowest {now.slowest}, {size_text(now.memory_bytes)}"
    )
