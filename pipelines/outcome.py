"""How a job ended, for the shell and for people: an exit code and one line."""

from __future__ import annotations

import click

from pipelines.verbs import usage_line
from streamsr.errors import Interrupted, StreamSRError


def outcome_of(error: BaseException) -> tuple[int, str]:
    """(exit code, one line) of anything that can end a job."""
    match error:
        case StreamSRError():
            return error.exit_code, str(error)
        case click.UsageError():
            return error.exit_code, usage_line(error)
        case click.ClickException():
            return error.exit_code, error.format_message()
        case KeyboardInterrupt() | click.Abort():
            return Interrupted.exit_code, "stopped by the user"
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return 1, f"internal error: {words}; run again with --debug and report"
