"""The encoder as the pipeline sees it: pictures in, packets out. The work is done by a process, see encode_worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from av.container import OutputContainer
from av.video.stream import VideoStream

from streamsr.errors import EncoderCrashed, FrameMismatch
from streamsr.frames import Packet, Stamp, Upscaled
from streamsr.media.encode_worker import encode_pictures
from streamsr.media.encoders import EncoderSettings
from streamsr.runtime.crew import Crew
from streamsr.runtime.meters import current_meter, pulse
from streamsr.runtime.slots import Slot, SlotRing

_LAST_WORDS = 1 << 16


def add_encoded_stream(output: OutputContainer, template: VideoStream) -> VideoStream:
    """A new stream of `output` for the packets of an Encoder. `template` is the only stream of the file whose bytes
    `Encoder.stream_template` returns. Raises av errors and ValueError where `output` cannot hold it."""
    # Without `opaque` PyAV looks for an encoder of the decoder's name, and libdav1d has none.
    stream = output.add_stream_from_template(template, opaque=True)
    if template.sample_aspect_ratio is not None:
        stream.codec_context.sample_aspect_ratio = template.sample_aspect_ratio  # MP4's is not the codec's, to FFmpeg
    if template.codec_context.name == "prores":
        stream.codec_context.codec_tag = template.codec_context.codec_tag  # the profile has no other place
    return stream


@dataclass(frozen=True, slots=True)
class EncodeStats:
    """`busy_s`: seconds that the process spent inside the encoder."""

    frames: int = 0
    num_bytes: int = 0
    busy_s: float = 0.0


class Encoder:
    """One encoder process. It is started at once, so that it is ready when the first picture is.

    `slots` is the ring in which the pictures will lie. `patience_s`: how long the process may neither answer nor use
    the processor while it has something to do."""

    def __init__(self, settings: EncoderSettings, crew: Crew, slots: SlotRing, patience_s: float) -> None:
        self.settings = settings
        self.stats = EncodeStats()
        self._crew, self._patience_s = crew, patience_s
        self._template = b""
        self._child = crew.process("encode", encode_pictures, (settings, slots))
        self._held: dict[int, Slot] = {}
        self._stamps: dict[int, Stamp] = {}
        self._num_sent = self._num_taken = self._num_packets = 0
        self._all_sent = False

    def encode(self, pictures: Iterator[Upscaled]) -> Iterator[Packet]:
        """The packets in decoding order, one per picture. Takes the pictures on a thread of its own, and releases
        their slots as the encoder lets go of them. To be called once.

        Raises EncoderCrashed when the process dies, refuses or hangs, FrameMismatch when packets and pictures do not
        correspond one to one by pts."""
        self._crew.start(lambda: self._send_all(pictures), "encode.feed")
        while (message := self._next_message())[0] != "done":
            packet = self._handle(*message)
            if packet is not None:
                yield packet
        self._account(busy_s=message[1])
        for index in list(self._held):  # an encoder may keep its last picture until it is closed
            self._held.pop(index).release()
        if self._stamps or not self._all_sent:
            raise FrameMismatch(f"{len(self._stamps)} pictures have no packet", stage="encode", index=self._num_packets)

    def stream_template(self) -> bytes:
        """A file with one packet, from which `add_encoded_stream` learns all that a muxer must know of the stream.
        There is none before the first packet has come out of `encode`."""
        assert self._template, "no packet yet"
        return self._template

    def _send_all(self, pictures: Iterator[Upscaled]) -> None:
        try:
            for picture in pictures:
                self._held[picture.slot.index] = picture.slot
                self._stamps[picture.stamp.pts] = picture.stamp
                self._num_sent += 1
                self._child.send(("picture", picture.slot.index, picture.stamp.pts), self._patience_s)
            self._all_sent = True
            self._child.send(("end",), self._patience_s)
        except EOFError:
            pass  # the process is dead; whoever waits for its packets says so

    @property
    def _is_waiting(self) -> bool:
        """True while the process has nothing to do, however long that takes."""
        return self._num_taken == self._num_sent and not self._all_sent

    def _next_message(self) -> Any:
        """Raises EncoderCrashed; Cancelled when another stage has failed."""
        used_s = moved_at = None
        while True:
            try:
                if not self._is_waiting:
                    return self._child.recv(self._slice_s)
                with current_meter().waiting("starved"):
                    return self._child.recv(self._slice_s)
            except EOFError as error:
                raise self._crashed(f"the encoder process ended: {self._child.exit_status()}") from error
            except TimeoutError:
                used_now, now = self._child.cpu_seconds(), time.monotonic()
                if self._is_waiting:
                    moved_at = None  # no pulse: that would hide a stage before this one that hangs
                elif used_now != used_s or moved_at is None:
                    used_s, moved_at = used_now, now
                    pulse()
                elif now - moved_at > 0.8 * self._patience_s:  # sooner than the crew's own, less informed watchdog
                    raise self._crashed(f"the encoder process has hung for {now - moved_at:.0f} s") from None

    @property
    def _slice_s(self) -> float:
        return min(0.5, self._patience_s / 20)

    def _handle(self, kind: str, *values: Any) -> Packet | None:
        match kind:
            case "packet":
                return self._packet(*values)
            case "free":
                self._held.pop(values[0]).release()
            case "taken":
                self._num_taken += 1
                self._account(busy_s=values[0])
            case "template":
                self._template = values[0]
            case "failed":
                raise self._crashed(values[0])
            case _:
                raise AssertionError(f"unknown message {kind!r}")
        return None

    def _packet(self, data: bytes, pts: int, dts: int, is_keyframe: bool) -> Packet:
        stamp = self._stamps.pop(pts, None)
        if stamp is None:
            raise FrameMismatch(f"a packet for no picture, pts {pts}", stage="encode", index=self._num_packets)
        if self._all_sent and self._num_sent <= 2:
            dts = pts  # too short to be reordered, and x265 leaves the dts of such a film uninitialised
        self._num_packets += 1
        self._account(num_bytes=len(data))
        return Packet(data, pts, dts, stamp.duration, stamp.time_base, is_keyframe)

    def _account(self, *, busy_s: float | None = None, num_bytes: int = 0) -> None:
        before = self.stats
        busy = before.busy_s if busy_s is None else busy_s
        self.stats = EncodeStats(self._num_packets, before.num_bytes + num_bytes, busy)

    def _crashed(self, what: str) -> EncoderCrashed:
        return EncoderCrashed(what, last_words=self._child.last_words(_LAST_WORDS), index=self._num_packets)
