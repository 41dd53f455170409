"""The one-way switch that stops a running job: closed once, seen by everybody from then on."""

from __future__ import annotations

import threading


class Cancelled(BaseException):
    """Raised in a stage whose job was aborted. Never caught as a failure, hence a BaseException."""


class Gate:
    """Level-triggered abort. `abort` may be called from any thread and from a signal handler; the first error wins.

    The lock can be re-entered: a signal handler may interrupt its own thread while that holds it."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._error: BaseException | None = None

    def abort(self, error: BaseException) -> None:
        """Stop the job because of `error`. Later calls change nothing."""
        with self._changed:
            if self._error is None:
                self._error = error
            self._changed.notify_all()

    @property
    def aborted(self) -> bool:
        return self._error is not None

    @property
    def error(self) -> BaseException | None:
        """The first error given to `abort`; None while the job may run."""
        return self._error

    def check(self) -> None:
        """Raises Cancelled once the job is aborted."""
        if self._error is not None:
            raise Cancelled(str(self._error))

    def wait(self, timeout: float) -> bool:
        """Sleep at most `timeout` seconds, less when the job is aborted meanwhile; True when it is aborted."""
        with self._changed:
            return self._changed.wait_for(lambda: self._error is not None, timeout)
