"""What a worker process runs: it opens its work once and does tasks one by one until it is sent () or the pipe closes.

The parent sends              and gets
  (payload,)                    ("ready",)                    once: the work is open
  ()                            ("unfit", Failure)            it cannot be opened; the process ends
                                ("progress", frames)          now and then
                                ("done", result, seconds)
                                ("failed", Failure, seconds)
"""

from __future__ import annotations

import select
import time
import traceback
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

from streamsr.chunks.executor import Place, WorkSpec, describe, open_work

TELL_EVERY_S = 0.2


def serve(connection: Connection[Any, Any], spec: WorkSpec, place: Place) -> None:
    """The process' main function. Tracebacks go to stderr, which the parent keeps."""
    with ExitStack() as stack:
        try:
            work = stack.enter_context(open_work(spec, place))
        except Exception as error:
            traceback.print_exc()
            connection.send(("unfit", describe(error)))
            return
        connection.send(("ready",))
        while True:
            try:
                message = connection.recv()
            except (EOFError, OSError):
                return  # the parent is gone
            if not message:
                return
            connection.send(_attempt(work, message[0], _Teller(connection)))


def _attempt(work: Any, payload: Any, tell: _Teller) -> tuple[Any, ...]:
    begun = time.monotonic()
    try:
        result = work(payload, tell)
    except BaseException as error:  # a Cancelled of a crew inside the work, too, is a failure of the task
        traceback.print_exc()
        return "failed", describe(error), time.monotonic() - begun
    return "done", result, time.monotonic() - begun


class _Teller:
    """Sends the number of frames done, at most every TELL_EVERY_S and only when the pipe takes it at once."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._told_at = 0.0
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLOUT)

    def __call__(self, frames: int) -> None:
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_S and self._poll.poll(0):
            self._told_at = now
            self._connection.send(("progress", frames))
