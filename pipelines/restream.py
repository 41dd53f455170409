"""Live streams, restreamed for weeks: one or many in one process, each for itself, on shared devices."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType

from pipelines.live_adapt import Adapter
from pipelines.live_devices import Devices, Planner
from pipelines.live_stream import LiveStream
from pipelines.streams_file import changes
from streamsr.display.status_line import status_line
from streamsr.errors import SomeFailed, StageFailed, StreamSRError
from streamsr.live.address import parse_source, parse_target
from streamsr.live.backoff import Backoff
from streamsr.live.health_server import HealthServer
from streamsr.live.notify import Notifier
from streamsr.live.stats import StreamStatus
from streamsr.live.status import StatusFile
from streamsr.live_config import NamedStream, StatusConfig
from streamsr.media.publish import check_target
from streamsr.report import Watcher
from streamsr.runtime.allocator import keep_freed_memory
from streamsr.upscale.station import Station

END_S = 3.5
"""From the order to stop to the last trailer; whoever sent SIGTERM kills soon after."""
FILE_S = 1.0
STEADY_S = 60.0
"""A stream that ran for so long starts again without delay after a failure."""

Place = tuple[Station, Planner]
Reload = Callable[[], tuple[NamedStream, ...]]


def restream(
    streams: tuple[NamedStream, ...], status: StatusConfig, reload: Reload | None, watcher: Watcher
) -> StreamSRError | None:
    """Runs until all streams have ended, or SIGTERM or Ctrl-C. `reload`: the streams anew, called on SIGHUP.

    Returns why the job is to be called failed, None when it is not: the error of the only stream, or one that names
    those that failed. Raises ConfigError, SinkError, WeightsError for what is wrong before anything has started."""
    keep_freed_memory()
    with ExitStack() as stack:
        devices = stack.enter_context(Devices(watcher))
        fleet = Fleet(devices, watcher)
        stack.callback(fleet.close)
        notifier = Notifier.from_environment()
        stack.callback(notifier.stopping)
        if status.listen != "none":
            server = HealthServer(status.listen, fleet.statuses)
            server.start()
            stack.callback(server.close)
            watcher.notice(f"status, metrics and health at {server.url}")
        file = StatusFile(status.file) if status.file is not None else None
        fleet.take_up(streams)
        with _signals() as asked:
            notifier.ready()
            _watch(fleet, status, reload, watcher, notifier, file, asked)
            fleet.tell()
            fleet.close()  # bounded in time, so that a second Ctrl-C has nothing to cut short
        if file is not None:
            file.write(fleet.statuses())
        return fleet.verdict()


class Asked:
    """What signals have asked for."""

    def __init__(self) -> None:
        self.stop, self.reload = threading.Event(), threading.Event()


class Fleet:
    """The streams that run. A stream that breaks is started again; one whose source or target is wrong stays down until
    its settings change."""

    def __init__(self, devices: Devices, watcher: Watcher) -> None:
        self._devices, self._watcher = devices, watcher
        self._wanted: tuple[NamedStream, ...] = ()
        self._running: dict[str, LiveStream] = {}
        self._backoff: dict[str, Backoff] = {}
        self._again_at: dict[str, float] = {}
        self._adapters: dict[Station, Adapter] = {}
        self._told: set[LiveStream] = set()
        self._lock = threading.RLock()

    @property
    def is_over(self) -> bool:
        """Nothing runs, and nothing is to be started again."""
        with self._lock:
            return not self._again_at and not any(stream.is_running for stream in self._running.values())

    def take_up(self, wanted: tuple[NamedStream, ...]) -> None:
        """Brings what runs in line with `wanted`: only what differs is touched. Raises ConfigError, SinkError,
        WeightsError; then everything is as it was."""
        for stream in wanted:
            parse_source(stream.source)
            for target in stream.targets:
                if stream not in self._wanted:
                    check_target(parse_target(target), stream.settings.publish)
        added, removed, changed = changes(self._wanted, wanted)
        with self._lock:
            places = self._places((*added, *changed))
            for stream in (*removed, *changed):
                self._end(stream.name)
            self._wanted = wanted
            for stream, place in zip((*added, *changed), places, strict=True):
                self._begin(stream, place)

    def _places(self, streams: tuple[NamedStream, ...]) -> list[Place]:
        """A device for each; all or none."""
        places: list[Place] = []
        try:
            places.extend(self._devices.place(stream.settings) for stream in streams)  # keeps those before a failure
        except StreamSRError:
            for station, _ in places:
                self._devices.leave(station)
            raise
        return places

    @property
    def trouble(self) -> StreamSRError | None:
        """What only a new process can mend."""
        return self._devices.trouble

    def adapt(self) -> None:
        """Called often: each device goes down its ladder under overload, and up again."""
        for station in self._devices.stations:
            adapter = self._adapters.setdefault(station, Adapter(station, self._watcher.notice))
            adapter.observe([stream for stream in list(self._running.values()) if stream.station is station])

    def tell(self) -> None:
        """Called often, and at the end: a line for each stream that has failed. The error of an only stream that is
        not started again is the job's, and said by whoever gets the verdict."""
        for live in list(self._running.values()):
            if live.error is not None and live not in self._told:
                self._told.add(live)
                if len(self._wanted) > 1 or isinstance(live.error, StageFailed):
                    self._watcher.notice(f"{live.name}: {live.error}")

    def tend(self) -> None:
        """Called often: streams that broke are started again, after a pause that grows."""
        with self._lock:
            for name, live in list(self._running.items()):
                if live.is_running or name in self._again_at or not isinstance(live.error, StageFailed):
                    continue
                backoff = self._backoff.setdefault(name, Backoff())
                if live.status().uptime_s > STEADY_S:
                    backoff.reset()
                self._again_at[name] = time.monotonic() + backoff.next_s()
                self._close(live, 1.0)
            for name, moment in list(self._again_at.items()):
                if time.monotonic() >= moment:
                    del self._again_at[name]
                    self._watcher.notice(f"{name}: starting again")
                    stream = next(stream for stream in self._wanted if stream.name == name)
                    self._begin(stream, self._devices.place(stream.settings))

    def statuses(self) -> Sequence[StreamStatus]:
        return [stream.status() for stream in list(self._running.values())]

    def close(self) -> None:
        """Ends all streams, at the same time."""
        with self._lock:
            self._again_at.clear()
            closers = [
                threading.Thread(target=stream.close, args=(END_S,), name=f"{stream.name}.close")
                for stream in self._running.values()
            ]
            for closer in closers:
                closer.start()
            for closer in closers:
                closer.join(END_S + 2)

    def verdict(self) -> StreamSRError | None:
        """Why the job is to be called failed; None when it is not."""
        if self.trouble is not None:
            return self.trouble
        failed = [stream for stream in self._running.values() if stream.error is not None]
        if len(self._running) == 1 and failed:
            return failed[0].error
        if failed:
            names = ", ".join(stream.name for stream in failed)
            return SomeFailed(f"{len(failed)} of {len(self._running)} streams failed", where=names)
        return None

    def _begin(self, stream: NamedStream, place: Place) -> None:
        source = parse_source(stream.source)
        targets = tuple(parse_target(target) for target in stream.targets)
        station, plan = place
        live = LiveStream(stream, source, targets, station, plan(targets), self._watcher.notice)
        self._running[stream.name] = live
        live.start()

    def _end(self, name: str) -> None:
        is_closed = self._again_at.pop(name, None) is not None  # it waits for its next start
        live = self._running.pop(name, None)
        if live is not None:
            self._watcher.notice(f"{name}: removed")
            if not is_closed:
                self._close(live, END_S)

    def _close(self, live: LiveStream, timeout_s: float) -> None:
        live.close(timeout_s)
        self._told.discard(live)
        self._devices.leave(live.station)


def _watch(
    fleet: Fleet,
    cfg: StatusConfig,
    reload: Reload | None,
    watcher: Watcher,
    notifier: Notifier,
    file: StatusFile | None,
    asked: Asked,
) -> None:
    """Until the streams have ended or somebody asks to stop."""
    next_line_s = time.monotonic() + cfg.interval_s
    next_file_s, file_error = 0.0, ""
    while not asked.stop.wait(0.25) and not fleet.is_over and fleet.trouble is None:
        fleet.tell()
        fleet.tend()
        fleet.adapt()
        notifier.watchdog()
        if asked.reload.is_set():
            asked.reload.clear()
            _reload(fleet, reload, watcher)
        if time.monotonic() >= next_line_s:
            next_line_s += cfg.interval_s
            lines = [status_line(status) for status in fleet.statuses()]
            for line in lines:
                watcher.notice(line)
            notifier.status("; ".join(lines))
        if file is not None and time.monotonic() >= next_file_s:
            next_file_s = time.monotonic() + FILE_S
            file.write(fleet.statuses())
            if file.error != file_error:
                file_error = file.error
                watcher.notice(f"status file: {file_error or 'written again'}")


def _reload(fleet: Fleet, reload: Reload | None, watcher: Watcher) -> None:
    if reload is None:
        watcher.notice("there is no --config file to read again")
        return
    try:
        fleet.take_up(reload())
        watcher.notice("the streams were read again")
    except StreamSRError as error:
        watcher.notice(f"the streams stay as they are: {error}")


@contextmanager
def _signals() -> Iterator[Asked]:
    """SIGTERM and Ctrl-C ask to stop, SIGHUP to read the streams again. The old handlers come back afterwards."""
    asked = Asked()

    def handle(number: int, frame: FrameType | None) -> None:
        (asked.reload if number == getattr(signal, "SIGHUP", None) else asked.stop).set()

    numbers = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
