"""One live stream, from its source to its targets: the path of a live picture.

Pictures come from the ingest process, wait in a mailbox where the newest wins, are upscaled by a station that several
streams share, encoded by a process, and published by one process for each target. Sound goes past them on the same
timeline. While the source is away a pacer keeps both going."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.live_feed import StreamFeed
from pipelines.live_output import LiveOutput
from pipelines.live_plan import LivePlan
from pipelines.live_threads import LiveThreads
from streamsr.errors import StreamSRError
from streamsr.live.address import Secrets, SourceAddress, TargetAddress
from streamsr.live.latency import Latency
from streamsr.live.mailbox import Mailbox
from streamsr.live.rate import Rate
from streamsr.live.stats import Counters, State, StreamStatus
from streamsr.live.timeline import Timeline
from streamsr.live_config import NamedStream
from streamsr.live_frames import LiveAudio, LiveInfo, LivePicture
from streamsr.media.ingest import Away, Ingest, Opened
from streamsr.media.live_audio import AudioLane
from streamsr.runtime.gate import Cancelled, Gate
from streamsr.upscale.station import Station

HELD_FPS = 10.0
"""How often the last picture is shown again while the source is away, at most."""
SILENT_S = 1.0
"""Without a picture for so long the last one is shown again; sound that is so late is replaced by silence."""


@dataclass
class _Slate:
    """`is_shown`: since the source went away the last time."""

    text: str
    is_shown: bool = False


class LiveStream:
    """`start` returns at once; `error` says later why the stream has ended. `close` ends it cleanly, from any thread.

    `plan`: what is to be decided when the source says what it is; it may raise StreamSRError."""

    def __init__(
        self,
        stream: NamedStream,
        source: SourceAddress,
        targets: tuple[TargetAddress, ...],
        station: Station,
        plan: Callable[[LiveInfo], LivePlan],
        notice: Callable[[str], None],
    ) -> None:
        self.stream = stream
        self.error: StreamSRError | None = None
        self.station = station
        self._source, self._targets, self._plan = source, targets, plan
        self._secrets = Secrets(source.url, *(target.url for target in targets))
        self._say = notice
        self._cfg = stream.settings
        self._gate, self.counters, self._latency = Gate(), Counters(), Latency()
        self._timeline = Timeline(self.counters)
        policy = self._cfg.policy
        self.mailbox = Mailbox(policy.drop, policy.stale_s, self.counters, station.ready)
        self._ingest = Ingest(source, self._cfg.ingest, self._gate, self.counters, may_wait=policy.drop == "wait")
        self._state: State = "starting"
        self._away = ""
        self._planned: LivePlan | None = None
        self._info: LiveInfo | None = None
        self._feed: StreamFeed | None = None
        self._output: LiveOutput | None = None
        self._lane: AudioLane | None = None
        self._lane_lock = threading.Lock()
        self._threads = LiveThreads(stream.name, self._secrets, self._fail)
        self._started_s = time.monotonic()
        self._rate_in, self._rate_out = Rate(), Rate()

    @property
    def name(self) -> str:
        return self.stream.name

    @property
    def is_running(self) -> bool:
        return not self._gate.aborted

    @property
    def num_rungs(self) -> int:
        """Of its ladder; 1 where it does not adapt, and before it is planned."""
        return len(self._planned.rungs) if self._planned is not None else 1

    @property
    def model(self) -> str:
        """What its pictures are made with now; "" before it is planned."""
        return self.station.rung_of(self._feed) if self._feed is not None else ""

    def start(self) -> None:
        self._threads.run("ingest", self._take_in)

    def close(self, timeout_s: float) -> None:
        """Ends everything within `timeout_s` seconds, and a moment more where something has to be killed; recordings
        get their end."""
        deadline_s = time.monotonic() + timeout_s
        if self._state != "failed":
            self._state = "stopped"
        self._ingest.close()
        if self._feed is not None:
            self.station.remove(self._feed, timeout_s / 4)
        if self._output is not None:
            self._output.close(deadline_s - time.monotonic())
        self._gate.abort(Cancelled("the stream was closed"))
        self.mailbox.close()
        self._threads.join(deadline_s - time.monotonic())

    def status(self) -> StreamStatus:
        plan, info = self._planned, self._info
        return StreamStatus(
            name=self.name,
            source=self._source.masked,
            state=self._state,
            model=self.model,
            size_in=f"{info.width}x{info.height}" if info is not None else "",
            size_out=f"{plan.width}x{plan.height}" if plan is not None else "",
            uptime_s=time.monotonic() - self._started_s,
            fps_in=self._rate_in.per_s(),
            fps_out=self._rate_out.per_s(),
            av_offset_ms=self._timeline.av_offset_ms,
            latency=self._latency.snapshot(),
            counters=self.counters.snapshot(),
            targets=self._output.statuses() if self._output is not None else (),
            error=self._secrets.hide(str(self.error) if self.error is not None else self._away),
        )

    def _take_in(self) -> None:
        """The ingest's thread: whatever the source says, in its order."""
        for event in self._ingest.events():
            match event:
                case LivePicture():
                    self._rate_in.note()
                    self.counters.add("pictures_in")
                    self._info = event.info
                    self.mailbox.put(event, self._gate)
                case LiveAudio():
                    self._put_audio(event)
                case Opened(info):
                    self._open(info)
                case Away(reason, retry_in_s):
                    self._state, self._away = "away", reason
                    self._notice(f"source away: {reason}; next try in {retry_in_s:.0f} s")
        self._end()

    def _open(self, info: LiveInfo) -> None:
        self._timeline.begin_session(time.monotonic())
        self._info = info
        if self._planned is None:
            self._begin(info)
        elif info.session:
            self._notice(f"source is back: {info.width}x{info.height} {info.codec}")
        self._state, self._away = "live", ""

    def _begin(self, info: LiveInfo) -> None:
        """The first opening: everything behind the mailbox is made."""
        plan = self._planned = self._plan(info)
        for line in plan.lines:
            self._notice(line)
        settings, cfg = plan.settings, self._cfg
        output = self._output = LiveOutput(
            settings, plan.carrier, self._targets, cfg.publish, self._gate, self.counters, self._latency
        )
        if plan.carrier is not None:
            self._lane = AudioLane(plan.carrier, self.counters)
        self._feed = StreamFeed(
            self.name,
            plan.rungs,
            cfg.upscale,
            (plan.width, plan.height),
            settings.layout,
            settings.color,
            self.mailbox,
            output,
            self._timeline,
            self._latency,
            self.counters,
            lambda error: self._notice(f"a picture could not be upscaled: {error}"),
        )
        self._threads.run("encode", lambda: output.run_packets(self._note_out))
        for publisher in output.publishers:
            self._threads.run(publisher.name, publisher.run)
        self._threads.run("pace", self._pace)
        self.station.add(self._feed)

    def _put_audio(self, packet: LiveAudio) -> None:
        output, lane = self._output, self._lane
        if output is None or lane is None:
            return
        out_s = self._timeline.audio(packet.time_s, packet.arrived_s, packet.duration_s)
        if out_s is not None and out_s >= 0:
            placed = LiveAudio(packet.data, packet.format, out_s, packet.duration_s, packet.arrived_s)
            with self._lane_lock:
                output.put_audio(lane.put(placed))

    def _pace(self) -> None:
        """While nothing comes, the last picture is shown again, and sound is filled up with silence."""
        output, feed = self._output, self._feed
        assert output is not None
        assert feed is not None
        slate = _Slate(self._cfg.policy.slate)
        while not self._gate.wait(1 / HELD_FPS):
            for line in output.news():
                self._notice(line)
            if feed.delivered_s is None:
                continue
            if time.monotonic() - feed.delivered_s > SILENT_S:
                self._hold(output, slate)
            else:
                slate.is_shown = False
            if self._lane is not None:
                with self._lane_lock:
                    output.put_audio(self._lane.fill(self._timeline.now_s() - SILENT_S))

    def _hold(self, output: LiveOutput, slate: _Slate) -> None:
        out_s = self._timeline.held()
        if out_s is None:
            return
        if slate.text and self._state == "away" and not slate.is_shown:
            slate.is_shown = output.show_slate(slate.text, out_s)
        elif output.encoder.repeat(out_s):
            self.counters.add("pictures_held")

    def _note_out(self) -> None:
        self._rate_out.note()
        self.counters.add("pictures_out")

    def _end(self) -> None:
        """A file that is not looped has ended: what is under way is finished. Not an error."""
        if self._gate.aborted or self._state == "stopped":
            return
        deadline = time.monotonic() + 10.0
        while len(self.mailbox) and time.monotonic() < deadline and not self._gate.wait(0.05):
            pass
        self._state = "stopped"
        threading.Thread(target=self.close, args=(4.0,), name=f"{self.name}.close", daemon=True).start()

    def _notice(self, text: str) -> None:
        self._say(f"{self.name}: {self._secrets.hide(text)}")

    def _fail(self, failure: StreamSRError) -> None:
        if self.error is None:
            self.error, self._state = failure, "failed"
        self._gate.abort(failure)
