"""Every error a user can meet, each with its exit code.

    StreamSRError           1
      ConfigError           2   a wrong option, key or value                    also a ValueError
      SourceError           3   the input cannot be read                        also an OSError
      SinkError             4   the output cannot be written                    also an OSError
      WeightsError          5   a checkpoint is missing, unknown or corrupt
      StageFailed           6   a stage of the running job failed
        EncoderCrashed      6   the encoder process died or stopped answering
        FrameMismatch       6   frames were lost, doubled or permuted
      SomeFailed            7   several files: at least one failed, the others are done
      Interrupted         130   stopped by the user (second Ctrl-C, or nothing was written yet)

A message has three parts: what happened, where, and what to do about it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path


class StreamSRError(Exception):
    """Base of all errors meant for users. `str()` is one line: what (where): remedy."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(what, where, remedy)

    def __str__(self) -> str:
        line = f"{self.what} ({self.where})" if self.where else self.what
        return " ".join((f"{line}. {self.remedy}" if self.remedy else line).split())


class ConfigError(StreamSRError, ValueError):
    exit_code = 2


class SourceError(StreamSRError, OSError):
    exit_code = 3


class SinkError(StreamSRError, OSError):
    exit_code = 4


class WeightsError(StreamSRError):
    exit_code = 5


class StageFailed(StreamSRError):
    """A stage raised or stopped answering. The original error is `__cause__`."""

    exit_code = 6

    def __init__(self, what: str, *, stage: str, index: int | None = None, remedy: str = "") -> None:
        self.stage, self.index = stage, index
        where = f"stage {stage}" if index is None else f"stage {stage}, item {index}"
        super().__init__(what, where=where, remedy=remedy)


class EncoderCrashed(StageFailed):
    """The encoder process ended or hung. `last_words` holds the end of its log."""

    def __init__(self, what: str, *, last_words: str = "", index: int | None = None) -> None:
        self.last_words = last_words
        tail = last_words.strip().splitlines()[-1:] or [""]
        super().__init__(
            what if not tail[0] else f"{what}: {tail[0]}",
            stage="encode",
            index=index,
            remedy="Try another --encoder or --preset; --debug shows the encoder's whole log.",
        )


class FrameMismatch(StageFailed):
    """Counts or order disagree at a border between two stages."""


class SomeFailed(StreamSRError):
    exit_code = 7


class Interrupted(StreamSRError):
    exit_code = 130


def as_sink_error(error: Exception, target: Path, remedy: str = "Choose another place for the output.") -> SinkError:
    """`error`, which a write to `target` raised, in our words. A SinkError is returned as it is."""
    if isinstance(error, SinkError):
        return error
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT):
        return SinkError("no space left on the device", where=str(target.parent), remedy="Free some space.")
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        what = f"may not write: {os.strerror(code)}"
        return SinkError(what, where=str(target), remedy="Choose another folder, or change its permissions.")
    reason = getattr(error, "strerror", None) or str(error)
    return SinkError(f"cannot write: {reason}", where=str(target), remedy=remedy)
