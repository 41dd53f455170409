"""The threads of one live job: named after their stages, and whatever they raise is told, without secrets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from streamsr.errors import StageFailed, StreamSRError
from streamsr.live.address import Secrets
from streamsr.runtime.gate import Cancelled


class LiveThreads:
    """`on_failure` is called on the thread that failed, for every failure; what is cancelled has not failed."""

    def __init__(self, name: str, secrets: Secrets, on_failure: Callable[[StreamSRError], None]) -> None:
        self._name, self._secrets, self._on_failure = name, secrets, on_failure
        self._threads: list[threading.Thread] = []

    def run(self, stage: str, call: Callable[[], None]) -> None:
        """Starts a thread called after the stage. It is a daemon: one that hangs does not keep the program."""
        thread = threading.Thread(target=self._guard, args=(stage, call), name=f"{self._name}.{stage}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self, timeout_s: float) -> None:
        """Waits for all of them, for so long together; may be called on one of them."""
        deadline = time.monotonic() + timeout_s
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    def _guard(self, stage: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Cancelled:
            return
        except Exception as error:  # the first failure of any stage ends this job, and no other
            self._on_failure(self._without_secrets(error, stage))

    def _without_secrets(self, error: Exception, stage: str) -> StreamSRError:
        """The error as a user may see it, in logs and with --debug too: its cause is told in words, as FFmpeg's own
        errors repeat the address with its password."""
        hide = self._secrets.hide
        if not isinstance(error, StreamSRError):
            return StageFailed(hide(f"{type(error).__name__}: {error}"), stage=stage)
        error.what, error.where, error.remedy = hide(error.what), hide(error.where), hide(error.remedy)
        error.__cause__ = None
        return error.with_traceback(None)
