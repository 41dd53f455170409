"""Words to the service manager, as systemd's sd_notify says them: one datagram each, no library."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping


class Notifier:
    """Without an `address` (no NOTIFY_SOCKET) every call does nothing. None raises or waits: a manager that does not
    listen must not stop a stream. Not thread-safe.

    `watchdog_interval_s`: how often the manager wants a sign of life at least, None where it wants none."""

    def __init__(
        self,
        address: str | None,
        watchdog_interval_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # An abstract socket is written with an @ for the zero byte that its name begins with.
        self._address = f"\0{address[1:]}" if address is not None and address.startswith("@") else address
        self.watchdog_interval_s = watchdog_interval_s
        self._clock = clock
        self._next_ping_s = 0.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Notifier:
        """What the manager has put into the environment: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID."""
        values = os.environ if environment is None else environment
        address = values.get("NOTIFY_SOCKET", "")
        is_known = address.startswith(("/", "@")) and hasattr(socket, "AF_UNIX")
        microseconds = values.get("WATCHDOG_USEC", "")
        is_ours = values.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval_s = int(microseconds) / 1e6 if is_ours and microseconds.isdigit() and int(microseconds) else None
        return cls(address if is_known else None, interval_s if is_known else None)

    def ready(self) -> None:
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={' '.join(text.split())}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """A sign of life. May be called as often as one likes: sent a few times in each interval."""
        now = self._clock()
        if self.watchdog_interval_s is not None and now >= self._next_ping_s:
            self._next_ping_s = now + self.watchdog_interval_s / 4
            self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.connect(self._address)
            out.send(message.encode("utf-8", "replace"))
