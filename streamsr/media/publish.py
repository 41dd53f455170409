"""A target as the stream sees it: packets in, never waiting. The work is done by a process, see publish_worker, which
is watched, killed when it hangs (publish_session), and started again."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from streamsr.errors import SinkError, StreamSRError, as_sink_error
from streamsr.live.address import Secrets, TargetAddress
from streamsr.live.backoff import Backoff
from streamsr.live.hls_folder import hls_folder
from streamsr.live.hls_server import HlsServer, check_listen
from streamsr.live.stats import State, TargetStatus
from streamsr.live_config import PublishConfig
from streamsr.live_frames import AudioFormat, LiveAudio, LiveVideo
from streamsr.media.publish_queue import PacketQueue
from streamsr.media.publish_session import PublishSession
from streamsr.media.publish_worker import PublishJob
from streamsr.media.recording import LEAST_FREE_BYTES
from streamsr.media.srt_bridge import check_srt_output
from streamsr.media.whip_certificate import check_certificates
from streamsr.runtime.gate import Cancelled, Gate

STEADY_S = 10.0
"""A target that worked for so long is tried again soon after it broke."""
SLICE_S = 0.1
_srt_in_use: set[str] = set()
"""HOST:PORT of the SRT targets that run in this program."""
_GRACE_S = 6.0  # for the end of a process that was killed


class Publisher:
    """`begin` once, then `put` from any thread; `run` on a thread of its own, until `close`, which may come from any
    thread, or until `gate` is aborted. `name` is of threads and processes.

    `on_sent` is called with each picture that the target's muxer has taken. `watch_url`: where a browser sees the
    target, "" for most kinds."""

    def __init__(self, target: TargetAddress, cfg: PublishConfig, gate: Gate, name: str) -> None:
        self.target, self.name = target, name
        self.on_sent: Callable[[LiveVideo], None] | None = None
        self.watch_url = ""
        self._cfg, self._gate = cfg, gate
        self._secrets = Secrets(target.url)
        self._queue = PacketQueue(cfg.queue_s)
        self._backoff = Backoff()
        self._template: bytes | None = None
        self._audio: AudioFormat | None = None
        self._begun, self._closing, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._ended.set()
        self._session: PublishSession | None = None
        self._kill_at_s: float | None = None
        self._server: HlsServer | None = None
        self._state: State = "starting"
        self._error = ""
        self._packets = self._num_bytes = self._lost = self._times_live = 0

    def begin(self, video_template: bytes, audio: AudioFormat | None) -> None:
        """`video_template` as `add_encoded_stream` takes it; `audio`: the format of all packets of sound."""
        self._template = video_template
        self._audio = audio if self._cfg.audio != "none" else None
        self._begun.set()

    def put(self, packet: LiveVideo | LiveAudio) -> None:
        """Never waits. What the target cannot take in time is left out: pictures up to the next key frame."""
        if isinstance(packet, LiveVideo) or self._audio is not None:
            self._queue.put(packet)

    def run(self) -> None:
        """Keeps the target supplied, whatever happens to it. Never raises for what is the target's fault."""
        self._ended.clear()
        if self.target.kind == "srt":
            _srt_in_use.add(urlsplit(self.target.url).netloc)
        try:
            self._serve()
            while not self._is_over():
                if not self._begun.wait(SLICE_S):
                    continue
                reason = self._publish()
                if reason is None or self._is_over():
                    break
                self._state, self._error = "away", self._secrets.hide(reason)
                self._pause(self._backoff.next_s())
        except Cancelled:
            pass
        finally:
            if self._server is not None:
                self._server.close()
            _srt_in_use.discard(urlsplit(self.target.url).netloc)
            self._state = "stopped"
            self._ended.set()

    def close(self, timeout_s: float) -> None:
        """Ends the target: what waits is sent, files get their end. After `timeout_s` seconds the process is killed."""
        self._kill_at_s = time.monotonic() + timeout_s
        self._closing.set()
        self._queue.close()
        if self._session is not None:
            self._session.kill_at_s = self._kill_at_s
        self._ended.wait(timeout_s + _GRACE_S)
        self._state = "stopped"

    def status(self) -> TargetStatus:
        return TargetStatus(
            name=self.target.masked,
            state=self._state,
            packets=self._packets,
            num_bytes=self._num_bytes,
            dropped=self._queue.dropped + self._lost,
            reconnects=max(self._times_live - 1, 0),
            error=self._error,
        )

    def _is_over(self) -> bool:
        return self._closing.is_set() or self._gate.aborted

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._gate.aborted:
            if self._closing.wait(min(left, SLICE_S)):
                return

    def _serve(self) -> None:
        if self.target.kind != "hls" or self._cfg.listen == "none":
            return
        try:
            folder = hls_folder(self.target.url)
            folder.check()
            self._server = HlsServer(folder, self._cfg.listen)
            self._server.start(self._gate)
            self.watch_url = self._server.url
        except StreamSRError as error:
            self._server, self._error = None, self._secrets.hide(str(error))

    def _publish(self) -> str | None:
        """One process, from its start to its end. Why it ended; None when all is written."""
        session = PublishSession(self.name, self._job(), self._queue, self._gate, self._cfg.stall_s, self._note_sent)
        self._session = session
        session.kill_at_s = self._kill_at_s  # in this order: `close` may come between
        try:
            return session.run()
        finally:
            self._lost += session.num_lost
            if session.is_open and time.monotonic() - session.began_s > STEADY_S:
                self._backoff.reset()

    def _job(self) -> PublishJob:
        assert self._template is not None
        cfg = self._cfg
        return PublishJob(
            kind=self.target.kind,
            url=self.target.url,
            template=self._template,
            audio=self._audio,
            audio_mode=cfg.audio,
            timeout_s=min(cfg.stall_s, 10.0),
            segment_s=cfg.segment_s,
            segments=cfg.segments,
            rotate_s=cfg.rotate_s,
            is_again=self._times_live > 0,
        )

    def _note_sent(self, packet: LiveVideo | LiveAudio) -> None:
        if self._state != "live":
            self._state = "live"
            self._times_live += 1
        self._packets += 1
        self._num_bytes += len(packet.data)
        if isinstance(packet, LiveVideo) and self.on_sent is not None:
            self.on_sent(packet)


def check_target(target: TargetAddress, cfg: PublishConfig) -> None:
    """What can be known of a target before anything starts. Raises ConfigError, SinkError."""
    match target.kind:
        case "srt":
            if urlsplit(target.url).netloc not in _srt_in_use:  # by a stream that is to be changed
                check_srt_output(target.url)
        case "whip":
            check_certificates()
        case "hls":
            hls_folder(target.url).check()
            if cfg.listen != "none":
                check_listen(cfg.listen)
        case "record":
            _check_recording(Path(os.path.abspath(target.url)))
        case _:
            pass


def _check_recording(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(13, os.strerror(13))
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise as_sink_error(error, path) from error
    if free < LEAST_FREE_BYTES:
        raise SinkError("no space left on the device", where=str(path.parent), remedy="Free some space.")
