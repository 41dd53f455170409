"""A live source as its stream sees it: pictures, sound, and what becomes of the source.

Everything that can hang or crash is in a process, see ingest_worker. It is killed when nothing comes, and started
again, later and later, as long as the settings allow."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from streamsr.errors import SourceError
from streamsr.live.address import Secrets, SourceAddress
from streamsr.live.backoff import Backoff
from streamsr.live.stats import Counters
from streamsr.live_config import IngestConfig
from streamsr.live_frames import LiveAudio, LiveInfo, LivePicture
from streamsr.media.ingest_slots import IngestSlots
from streamsr.media.ingest_watch import IngestWatch
from streamsr.media.ingest_worker import ingest_source
from streamsr.media.live_input import InputSettings
from streamsr.media.srt_bridge import SrtBridge, srt_input
from streamsr.runtime.child import Child
from streamsr.runtime.gate import Cancelled, Gate

LISTEN_S = 0.2
"""How long the process is listened to before the clock is looked at, and how long `close` may have to wait for that."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The source is open and its first picture follows."""

    info: LiveInfo


@dataclass(frozen=True, slots=True)
class Away:
    """The source is gone. `reason`: one line, masked. It is tried again in `retry_in_s` seconds."""

    reason: str
    retry_in_s: float


Event = Opened | LivePicture | LiveAudio | Away


class Ingest:
    """The source of one stream. Pictures lie in `num_slots` slots, which whoever has a picture gives back; when all are
    out, pictures are left out and counted, or with `may_wait` the source waits.

    `events` is consumed on one thread. `close` may be called from any, also while `events` waits; pictures that are
    still out then stay readable until they are given back."""

    def __init__(
        self,
        source: SourceAddress,
        cfg: IngestConfig,
        gate: Gate,
        counters: Counters,
        *,
        num_slots: int = 8,
        may_wait: bool = False,
    ) -> None:
        self._source, self._cfg, self._gate, self._counters = source, cfg, gate, counters
        self._may_wait = may_wait
        self._secrets = Secrets(source.url)
        self._slots = IngestSlots(num_slots)
        self._child: Child | None = None
        self._listening = threading.Lock()  # of _child: it is not stopped, nor the slots closed, under who uses them
        self._closed = False
        self._num_sessions = 0
        self._num_failures = 0
        self._backoff = Backoff()
        self._info: LiveInfo | None = None
        self._bridge: SrtBridge | None = None

    def events(self) -> Iterator[Event]:
        """What happens to the source, in order: Opened before the first picture of each session, Away after its last.
        Ends with a file that is not looped, after `close`, and when the gate is aborted. Raises SourceError when the
        source cannot be had and cfg.retry allows no other try."""
        try:
            while not self._closed:
                try:
                    yield from self._session()
                    return
                except SourceError as error:
                    away = self._after(error)
                yield away
                self._pause(away.retry_in_s)
        except Cancelled:
            return
        finally:
            self._stop_child()

    def close(self) -> None:
        """Ends the process and `events`. Returns within a few seconds; again and again it does nothing."""
        self._closed = True
        self._stop_child()
        self._slots.close()

    def _session(self) -> Iterator[Event]:
        """From starting a process to a file's end. Raises SourceError for every other end."""
        watch = IngestWatch(self._cfg.open_timeout_s, self._cfg.stall_s, counts=not self._may_wait)
        self._info = None
        with self._reachable() as settings:
            self._start_child(settings)
            try:
                while (message := self._next_message(watch)) is not None:
                    if message[0] == "ended" and message[2]:
                        return
                    event = self._event(message, watch)
                    if event is not None:
                        asked = time.monotonic()
                        yield event
                        watch.excused(time.monotonic() - asked)
            finally:
                self._stop_child()

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[InputSettings]:
        """What the process is told to open. SRT, which FFmpeg here does not speak, comes over a bridge."""
        cfg = self._cfg
        settings = InputSettings(
            self._source,
            cfg.transport,
            cfg.open_timeout_s,
            cfg.stall_s,
            cfg.loop,
            cfg.size,
            cfg.rate,
            self._may_wait,
        )
        if self._source.kind != "srt":
            yield settings
            return
        with srt_input(self._source.url) as self._bridge:
            yield replace(settings, source=SourceAddress("udp", self._bridge.url))

    def _event(self, message: Any, watch: IngestWatch) -> Event | None:
        """What a message is for the consumer; None where it is for us only."""
        match message:
            case ("picture", index, time_s, arrived_s, decoded_s):
                watch.pictures()
                self._num_failures = 0
                self._backoff.reset()
                assert self._info is not None
                return LivePicture(self._slots.lease(index), self._info, time_s, arrived_s, decoded_s)
            case ("audio", data, form, time_s, duration_s, arrived_s):
                return LiveAudio(data, form, time_s, duration_s, arrived_s) if self._info is not None else None
            case ("info", info):
                return self._described(info)
            case ("counts", corrupt, dropped):
                self._counters.add("corrupt_packets", corrupt)
                self._counters.add("dropped_ingest", dropped)
                if dropped:
                    watch.pictures(dropped)
            case ("started",):
                watch.started()
            case ("reached",):
                watch.reached()
            case ("alive",):
                watch.excused()
            case ("ended", reason, _):
                raise self._failure(reason)
            case ("refused", what, remedy):
                raise self._failure(what, remedy)
            case _:
                raise AssertionError(f"unknown message {message[0]!r}")
        return None

    def _described(self, info: LiveInfo) -> Opened | None:
        """A first description opens a session; a later one is that of the pictures from there on."""
        is_first = self._info is None
        session = self._num_sessions if is_first else self._num_sessions - 1
        self._info = replace(info, session=session)
        if not is_first:
            return None
        self._num_sessions += 1
        if session:
            self._counters.add("reconnects")
        return Opened(self._info)

    def _next_message(self, watch: IngestWatch) -> Any:
        """None after `close`. Raises SourceError when the process is dead or in trouble, Cancelled."""
        while True:
            if self._slots.all_out:
                watch.excused()
            trouble = watch.trouble(self._info.rate if self._info is not None else None)
            if self._bridge is not None and not self._bridge.alive():
                trouble = f"the SRT connection has ended: {self._bridge.last_words()}"
            if trouble is not None:
                raise self._failure(trouble)
            with self._listening:
                child = self._child
                if child is None or self._closed:
                    return None
                try:
                    return child.recv(LISTEN_S)
                except TimeoutError:
                    continue
                except (EOFError, OSError):
                    words = " ".join(child.last_words().strip().splitlines()[-1:])
                    what = f"the ingest process ended: {child.exit_status()}"
                    raise self._failure(f"{what}: {words}" if words else what) from None

    def _start_child(self, settings: InputSettings) -> None:
        with self._listening:  # `close` waits: it must not take the slots away while a process gets them
            if self._closed:
                return
            try:
                child = Child("ingest", ingest_source, (settings, self._slots.ring), self._gate)
            except OSError as error:
                raise self._failure(f"no ingest process: {error.strerror}") from error
            self._child = child
            self._slots.attach(child)

    def _stop_child(self) -> None:
        with self._listening:
            child, self._child = self._child, None
            self._slots.detach()
            if child is not None:
                child.stop(LISTEN_S)

    def _after(self, error: SourceError) -> Away:
        """What follows a failure. Raises it again when there is no other try."""
        self._num_failures += 1
        match self._cfg.retry:
            case "forever":
                may_retry = True
            case "never":
                may_retry = False
            case "auto":
                may_retry = self._num_sessions > 0
            case number:
                may_retry = self._num_failures <= int(number)
        if not may_retry:
            raise error
        return Away(" ".join(error.what.split()), self._backoff.next_s())

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._closed and (left := deadline - time.monotonic()) > 0:
            self._gate.wait(min(left, LISTEN_S))
            self._gate.check()

    def _failure(self, what: str, remedy: str = "") -> SourceError:
        remedy = remedy or "It is tried again with --retry forever."
        hide = self._secrets.hide
        return SourceError(hide(what), where=self._source.masked, remedy=hide(remedy))
