"""The ingest's own process: a live source becomes pictures in slots and audio packets. Imports av and numpy, no torch.

The parent sends             and gets
  ("free", slot)               ("started",)                   the process runs; opening begins
                               ("reached",)                   the source is open
                               ("info", LiveInfo)             what the pictures from here on are; first before the first
                               ("picture", slot, time_s, arrived_s, decoded_s)      the slot is the parent's now
                               ("audio", data, AudioFormat, time_s, duration_s, arrived_s)
                               ("counts", corrupt, dropped)   more since the last such message
                               ("alive",)                     waits for a file's own pace
                               ("ended", reason, is_over)     no more; `is_over`: a file's end, not a disconnection
                               ("refused", what, remedy)      cannot be opened or read
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import Any

import av

from streamsr.errors import SourceError
from streamsr.media.decode import plain
from streamsr.media.encode_worker import Duplex
from streamsr.media.ingest_pictures import Describer, Moment, Packer, Progressive
from streamsr.media.ingest_sound import Sound
from streamsr.media.live_input import InputSettings, LiveInput, open_live
from streamsr.media.pace import Pace
from streamsr.media.probe import origin_of
from streamsr.media.siting import stated_chroma_location

COUNTS_EVERY_S = 0.25
UNTIMED_AT_FIRST = 2
"""Pictures without a time that are left out at the beginning: readers of RTSP know the time from the second on."""
MOST_UNDER_WAY = 64
SOUND_AHEAD_S = 0.5
"""In a file sound does not lie exactly beside its pictures."""


def ingest_source(connection: Duplex, settings: InputSettings, slots: Any) -> None:
    """The process' main function. Returns when the source has ended or cannot be had; ends with the pipe."""
    try:
        IngestWorker(connection, settings, slots).run()
    except (EOFError, ConnectionError, BrokenPipeError):
        return  # the parent is gone or has given up


class IngestWorker:
    """One source from its opening to its end."""

    def __init__(self, connection: Duplex, settings: InputSettings, slots: Any) -> None:
        self._connection, self._settings, self._slots = connection, settings, slots
        self._free = FreeSlots(connection)
        self._packer = Packer(slots, settings.source.masked)
        self._pace = Pace(lambda: self._send("alive"))
        self._corrupt = self._dropped = 0
        self._counted_s = 0.0
        self._said: Any = None
        self._shift_s = self._end_s = 0.0
        self._num_pictures = 0

    def run(self) -> None:
        self._send("started")
        try:
            while True:
                live = open_live(self._settings)
                self._send("reached")
                before = self._num_pictures
                reason, is_over = self._play(live)
                if not is_over:
                    break
                if self._num_pictures == before:
                    remedy = "It may be damaged: try to play it."
                    raise SourceError("no picture in it can be decoded", remedy=remedy)
                if not self._settings.loop:
                    break
        except SourceError as error:
            self._send("refused", error.what, error.remedy)
            return
        self._send_counts(0.0)
        self._send("ended", reason, is_over)

    def _play(self, live: LiveInput) -> tuple[str, bool]:
        """To the end of the source; the reason for it in a few words, and whether it was a file's own end."""
        # Before anything is decoded: it asks FFmpeg's log, which decoding threads write to.
        location = stated_chroma_location(live.container, live.video.index)
        sound = Sound(live.audio) if live.audio is not None else None
        audio = sound.format if sound is not None else None
        film = Film(self, live, Describer(live.container, live.video, audio, location))
        if self._num_pictures:
            self._shift_s = self._end_s - float(origin_of(live.container))
        reason, is_over = "the source has ended the stream", live.has_end
        with live.container:
            try:
                for packet in live.container.demux(*[each for each in (live.video, live.audio) if each is not None]):
                    if packet.size:
                        self._take(packet, live, film, sound)
            except av.ExitError:
                reason, is_over = f"no data for {self._settings.stall_s:g} s", False
            except av.FFmpegError as error:
                # A damaged file has no more to give, a connection may.
                reason, is_over = plain(error), self._settings.source.kind in ("file", "lavfi")
            film.end()
        return reason, is_over

    def _take(self, packet: Any, live: LiveInput, film: Film, sound: Sound | None) -> None:
        is_video = packet.stream is live.video
        if live.is_paced and packet.dts is not None:
            due_s = float(packet.dts * packet.time_base) + self._shift_s
            if is_video:
                self._pace.wait(due_s)
            else:
                self._pace.keep_near(due_s, SOUND_AHEAD_S)
        arrived_s = time.monotonic()
        self._send_counts(COUNTS_EVERY_S)
        if packet.is_corrupt:
            self._corrupt += 1
        elif is_video:
            film.take(packet, arrived_s)
        elif sound is not None and (taken := sound.take(packet)) is not None:
            data, form, start_s, duration_s = taken
            self._end_s = max(self._end_s, start_s + self._shift_s + duration_s)
            self._send("audio", data, form, start_s + self._shift_s, duration_s, arrived_s)

    def show(self, picture: Any, moment: Moment, describer: Describer, step_s: float) -> None:
        """One finished picture to the parent, or a count where no slot is free."""
        info = describer.describe(picture)
        if info != self._said:
            self._said = info
            self._send("info", info)
        self._num_pictures += 1
        time_s = moment.time_s + self._shift_s
        self._end_s = max(self._end_s, time_s + step_s)
        index = self._free.take(wait=self._settings.may_wait)
        if index is None:
            self._dropped += 1
            return
        self._packer.pack(picture, info, index, full_range=describer.is_full_range(picture, info))
        self._send("picture", index, time_s, moment.arrived_s, time.monotonic())

    def count_corrupt(self) -> None:
        self._corrupt += 1

    def _send_counts(self, every_s: float) -> None:
        now = time.monotonic()
        if (self._corrupt or self._dropped) and now - self._counted_s >= every_s:
            self._send("counts", self._corrupt, self._dropped)
            self._corrupt = self._dropped = 0
            self._counted_s = now

    def _send(self, *message: Any) -> None:
        self._connection.send(message)


class Film:
    """The video track of one opening: packets in, finished pictures to the worker."""

    def __init__(self, worker: IngestWorker, live: LiveInput, describer: Describer) -> None:
        self._worker, self._describer = worker, describer
        self._context = live.video.codec_context
        self._progressive = Progressive()
        self._arrived: dict[int, float] = {}
        self._last_s: float | None = None
        self._step_s = 0.04
        self._num_untimed = 0

    def take(self, packet: Any, arrived_s: float) -> None:
        if packet.pts is not None:
            self._arrived[packet.pts] = arrived_s
            while len(self._arrived) > MOST_UNDER_WAY:
                del self._arrived[next(iter(self._arrived))]
        self._decode(packet, arrived_s)

    def end(self) -> None:
        """What decoder and filter still hold."""
        self._decode(None, time.monotonic())
        for picture, moment in self._progressive.flush():
            self._worker.show(picture, moment, self._describer, self._step_s)

    def _decode(self, packet: Any | None, arrived_s: float) -> None:
        try:
            pictures = self._context.decode(packet)
        except av.EOFError:
            return
        except av.FFmpegError:
            self._worker.count_corrupt()
            return
        for picture in pictures:
            came_s = self._arrived.pop(picture.pts, arrived_s) if picture.pts is not None else arrived_s
            time_s = self._time_of(picture, came_s)
            if time_s is not None:
                for ready, moment in self._progressive.push(picture, Moment(time_s, came_s)):
                    self._worker.show(ready, moment, self._describer, self._step_s)

    def _time_of(self, picture: Any, came_s: float) -> float | None:
        """Seconds on the source's clock; without one the step goes on; None at the very beginning."""
        if picture.pts is not None and picture.time_base:
            time_s = float(picture.pts * picture.time_base)
        elif self._last_s is not None:
            time_s = self._last_s + self._step_s
        elif self._num_untimed < UNTIMED_AT_FIRST:
            self._num_untimed += 1
            return None
        else:
            time_s = came_s
        if self._last_s is not None and 0 < time_s - self._last_s < 1:
            self._step_s = time_s - self._last_s
        self._last_s = time_s
        return time_s


class FreeSlots:
    """Slots that the parent has given, received on a thread of its own, which ends the process with the pipe: there
    is nothing to save, and whatever FFmpeg waits for would hold it up."""

    def __init__(self, connection: Duplex) -> None:
        self._connection = connection
        self._indices: deque[int] = deque()
        self._given = threading.Condition()
        threading.Thread(target=self._receive, name="ingest-free", daemon=True).start()

    def take(self, *, wait: bool) -> int | None:
        """One of them; None where there is none, or with `wait` when there is one."""
        with self._given:
            while wait and not self._indices:
                self._given.wait(1.0)
            return self._indices.popleft() if self._indices else None

    def _receive(self) -> None:
        try:
            while True:
                _, index = self._connection.recv()
                with self._given:
                    self._indices.append(index)
                    self._given.notify()
        except (EOFError, OSError):
            os._exit(0)
