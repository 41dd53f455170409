"""Getting to a Ray cluster, or having one of one's own."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from streamsr.chunks.executor import describe
from streamsr.errors import ConfigError

CONNECT_S = 30.0


class Connection:
    """The program's connection to the cluster at `address`: "auto", HOST:PORT, or "local" for a cluster that begins
    with `open` and ends with `close`. One that the program has already is used, and left open."""

    ray: Any = None
    """The module, once it is open."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._is_ours = False
        self._folder: str | None = None

    def open(self) -> None:
        """Raises ConfigError without Ray, or without a cluster."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # reports to nobody
        where = f"ray {self.address}"
        try:
            import ray
        except ImportError as error:
            remedy = "Install it: pip install 'streamsr[cluster]'"
            raise ConfigError("a cluster needs ray", where=where, remedy=remedy) from error
        self.ray = ray
        logging.getLogger("ray").setLevel(logging.ERROR)
        # Ray tells of dead nodes on stdout, which is ours: machines read it. The events say what matters.
        vars(ray._private.worker)["print_to_stdstream"] = lambda *words, **facts: None
        if ray.is_initialized():
            return
        remedy = "Start one with `ray start --head`, or use --ray local."
        if self.address not in ("auto", "local"):
            _knock(self.address, where, remedy)
        self._is_ours = True
        try:
            if self.address == "local":
                self._start_cluster()
            else:
                _with_patience(self._init, CONNECT_S)
        except Exception as error:
            if not isinstance(error, TimeoutError):  # then it may still be at it
                self.close()
            what = f"no Ray cluster: {describe(error).line.rstrip('.')}"
            raise ConfigError(what, where=where, remedy=remedy) from error

    def close(self) -> None:
        """Disconnects; a cluster that `open` has started ends. Can be called again."""
        if self._is_ours:
            self._is_ours = False
            self.ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _start_cluster(self) -> None:
        """In the calling thread: Ray's processes end with the thread that started them."""
        # Short: the paths of its sockets have at most 107 bytes.
        self._folder = tempfile.mkdtemp(prefix="sr-", dir="/tmp" if os.path.isdir("/tmp") else None)
        before = signal.getsignal(signal.SIGTERM)
        try:
            self._init(include_dashboard=False, _temp_dir=self._folder)
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # ray.init takes it over

    def _init(self, **more: Any) -> None:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
        self.ray.init(address=self.address, **quiet, **more)


def _with_patience(call: Callable[[], None], patience_s: float) -> None:
    """`call` on a thread of its own, as a cluster that does not answer holds it for minutes. Raises what it raises,
    TimeoutError."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded, name="streamsr-ray", daemon=True)
    thread.start()
    thread.join(patience_s)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {patience_s:g} s")
    if errors:
        raise errors[0]


def _knock(address: str, where: str, remedy: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise ConfigError("not the address of a cluster", where=where, remedy="Write auto, local or HOST:PORT.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S / 3).close()
    except OSError as error:
        raise ConfigError(f"no Ray cluster: {error.strerror or error}", where=where, remedy=remedy) from error
