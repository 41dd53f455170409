"""What was wrong with a file that could be read all the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Damage:
    """Counted while decoding; complete when the last picture is out."""

    bad_packets: int = 0
    """Packets marked as corrupt, or that the decoder refused."""
    missing_stamps: int = 0
    """Pictures without a timestamp: given one from the decoding order or the picture before."""
    disordered_stamps: int = 0
    """Pictures whose timestamp did not lie behind the one before: moved behind it."""
    cut_short: bool = False
    """Reading stopped at an error before the end of the file."""
    first_error: str = ""
    """FFmpeg's words on the first bad packet."""

    def forget(self) -> None:
        """Nothing happened yet: what was counted so far belongs to pictures before a window, and is counted there."""
        self.bad_packets = self.missing_stamps = self.disordered_stamps = 0
        self.cut_short, self.first_error = False, ""

    def blame(self, error: str) -> None:
        self.first_error = self.first_error or error

    def notices(self) -> list[str]:
        """One line each, for a person."""
        lines = []
        detail = f" ({self.first_error})" if self.first_error else ""
        if self.bad_packets:
            lines.append(f"{_count(self.bad_packets, 'damaged packet')}{detail}: what could be decoded is kept")
        if self.cut_short:
            lines.append(f"the file could not be read to its end{detail}: what could be decoded is kept")
        if self.missing_stamps:
            lines.append(f"{_count(self.missing_stamps, 'picture')} without a timestamp: filled in")
        if self.disordered_stamps:
            lines.append(f"{_count(self.disordered_stamps, 'timestamp')} out of order: put in order")
        return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
