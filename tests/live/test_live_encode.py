"""The live encoder: all pictures, their times, and what happens when its process dies or hangs."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext

from streamsr.errors import EncoderCrashed
from streamsr.frames import ColorTags
from streamsr.live.stats import Counters
from streamsr.live_config import LiveEncodeConfig
from streamsr.live_frames import LiveVideo
from streamsr.media.encoders import EncoderSettings
from streamsr.media.live_encode import LiveEncoder
from streamsr.media.low_latency import low_latency
from streamsr.runtime.gate import Cancelled, Gate
from streamsr.runtime.slots import Slot
from tests.media import draw_planes, read_number

WIDTH, HEIGHT, RATE = 160, 96, 24
WAIT_S = 20.0


def settings_for(**config: Any) -> EncoderSettings:
    wanted = LiveEncodeConfig(encoder="libx264", **config)
    return low_latency(wanted, WIDTH, HEIGHT, ColorTags(1, 1, 1, False, 1), Fraction(RATE))


class Rig:
    """An encoder whose packets are gathered on a thread."""

    def __init__(self, settings: EncoderSettings, **options: Any) -> None:
        self.gate, self.counters = Gate(), Counters()
        self.encoder = LiveEncoder(settings, self.gate, self.counters, **options)
        self.packets: list[LiveVideo] = []
        self.error: Exception | None = None
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._gather, name="gather")
        self._thread.start()

    def _gather(self) -> None:
        try:
            for packet in self.encoder.packets():
                with self._more:
                    self.packets.append(packet)
                    self._more.notify_all()
        except EncoderCrashed as error:
            self.error = error

    def wait(self, count: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self.packets) >= count, WAIT_S), f"{len(self.packets)} of {count}"

    def wait_for_pts(self, pts: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: bool(self.packets) and self.packets[-1].pts == pts, WAIT_S)

    def show(self, number: int) -> None:
        slot = _until(self.encoder.lease)
        draw(slot, number, self.encoder.settings)
        self.encoder.submit(slot, number / RATE, 100.0 + number)

    def pid(self) -> int:
        child = _until(lambda: self.encoder._child)
        return int(child.pid)

    def numbers(self) -> list[int]:
        """What a receiver sees that has been there from the beginning."""
        assert self.encoder.template is not None
        with av.open(io.BytesIO(self.encoder.template)) as container:
            extradata = container.streams.video[0].codec_context.extradata
        decoder = av.CodecContext.create("h264", "r")
        assert isinstance(decoder, VideoCodecContext)
        decoder.extradata, decoder.thread_count = extradata, 1
        frames = [frame for each in self.packets for frame in decoder.decode(av.Packet(each.data))]
        frames += decoder.decode(None)
        return [read_number(frame.to_ndarray()[:HEIGHT]) for frame in frames]

    def close(self) -> None:
        self.encoder.close(5.0)
        self._thread.join(10.0)
        assert not self._thread.is_alive()


def draw(slot: Slot, number: int, settings: EncoderSettings) -> None:
    places = settings.layout.planes_of(slot.memory, WIDTH, HEIGHT)
    for place, plane in zip(places, draw_planes(number, settings.layout, WIDTH, HEIGHT), strict=True):
        place[:] = plane


def _until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if (value := found()) is not None:
            return value
        time.sleep(0.005)
    raise AssertionError("waited in vain")


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig(settings_for(gop_s=0.5), patience_s=1.0)
    made.pid()  # of pictures that come before the process only the newest is kept
    yield made
    made.close()


def test_every_picture_comes_out_at_its_time(rig: Rig) -> None:
    for number in range(30):
        rig.show(number)
    rig.wait(30)
    rig.encoder.close(5.0)
    assert rig.numbers() == list(range(30))
    assert [packet.pts for packet in rig.packets] == [number * 3750 for number in range(30)]
    assert all(packet.dts == packet.pts for packet in rig.packets)
    assert [packet.arrived_s for packet in rig.packets] == [100.0 + number for number in range(30)]
    assert [index for index, packet in enumerate(rig.packets) if packet.is_keyframe] == [0, 12, 24]
    assert rig.counters["encoder_restarts"] == 0


def test_key_frames_come_by_time_where_pictures_are_rare(rig: Rig) -> None:
    """A camera that says 24 and gives 4 pictures a second; a key frame each half second, as asked."""
    for number in range(0, 96, 6):
        rig.show(number)
        rig.wait(1 + number // 6)
    keys = [packet.pts / 90000 for packet in rig.packets if packet.is_keyframe]
    assert max(after - before for before, after in pairwise(keys)) <= 0.76
    assert rig.numbers() == list(range(0, 96, 6))


def test_a_packet_does_not_wait_for_the_next_picture(rig: Rig) -> None:
    for number in range(4):
        rig.show(number)
        rig.wait(number + 1)


def test_the_newest_picture_can_be_shown_again(rig: Rig) -> None:
    assert not rig.encoder.repeat(0.0), "there is none"
    rig.show(7)
    rig.wait(1)
    for again in range(3):
        assert rig.encoder.repeat(1.0 + again / 10)
        rig.wait(2 + again)
    rig.show(48)
    rig.wait(5)
    assert rig.numbers() == [7, 7, 7, 7, 48]
    assert [packet.arrived_s for packet in rig.packets] == [107.0, None, None, None, 148.0]
    pts = [packet.pts for packet in rig.packets]
    assert pts[1:4] == [90000, 99000, 108000]
    assert pts == sorted(set(pts))


def test_only_the_newest_slot_is_kept(rig: Rig) -> None:
    for number in range(3):
        rig.show(number)
        rig.wait(number + 1)
    # x264 lets go of a picture with the next one at the latest, so of all but the newest.
    _until(lambda: rig.encoder.slots.num_free == 5 or None)


def test_times_that_do_not_grow_are_moved_on(rig: Rig) -> None:
    for out_s in (0.5, 0.5, 0.2, 1.0):
        slot = _until(rig.encoder.lease)
        draw(slot, 1, rig.encoder.settings)
        rig.encoder.submit(slot, out_s, None)
    rig.wait(4)
    assert [packet.pts for packet in rig.packets] == [45000, 45001, 45002, 90000]


def test_lease_never_blocks(rig: Rig) -> None:
    slots = [rig.encoder.lease() for _ in range(6)]
    assert None not in slots
    started = time.monotonic()
    assert rig.encoder.lease() is None
    assert time.monotonic() - started < 0.04
    for slot in slots:
        assert slot is not None
        slot.release()
    rig.gate.abort(Cancelled("the test"))
    assert rig.encoder.lease() is None


def test_a_copy_of_the_newest_picture_to_draw_on(rig: Rig) -> None:
    assert rig.encoder.copy_newest() is None
    rig.show(5)
    rig.wait(1)
    copy = rig.encoder.copy_newest()
    assert copy is not None
    luma = rig.encoder.settings.layout.planes_of(copy.memory, WIDTH, HEIGHT)[0]
    assert read_number(luma) == 5
    luma[:] = np.minimum(luma, 100)
    rig.encoder.submit(copy, 1.0, None)
    rig.wait(2)
    assert rig.numbers() == [5, 5]


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_dies_or_hangs_is_replaced(rig: Rig, stop: int) -> None:
    for number in range(5):
        rig.show(number)
    rig.wait(5)
    first = rig.pid()
    os.kill(first, stop)
    for number in range(5, 8):  # those go down with the process, or never reach it
        rig.show(number)
    rig.wait(6)
    assert rig.pid() != first
    for number in range(8, 12):
        rig.show(number)
    rig.wait(10)
    rig.encoder.close(5.0)
    assert rig.packets[5].is_keyframe
    assert rig.numbers() == [*range(5), 7, 8, 9, 10, 11], "the newest picture is shown by the new process"
    pts = [packet.pts for packet in rig.packets]
    assert pts == sorted(set(pts))
    assert rig.counters["encoder_restarts"] == 1
    assert rig.encoder.trouble


def test_no_slot_is_lost_when_processes_die(rig: Rig) -> None:
    for round_ in range(3):
        for number in range(3):
            rig.show(10 * round_ + number)
        rig.wait_for_pts((10 * round_ + 2) * 3750)
        os.kill(rig.pid(), signal.SIGKILL)
    rig.show(40)
    rig.wait_for_pts(40 * 3750)
    assert rig.counters["encoder_restarts"] == 3
    _until(lambda: rig.encoder.slots.num_free == 5 or None)


def test_a_stopped_process_does_not_hold_up_the_feed(rig: Rig) -> None:
    rig.show(0)
    rig.wait(1)
    os.kill(rig.pid(), signal.SIGSTOP)
    started, number = time.monotonic(), 0
    while (slot := rig.encoder.lease()) is not None:
        number += 1
        draw(slot, number, rig.encoder.settings)
        rig.encoder.submit(slot, number / RATE, None)
    assert number <= 6
    assert not rig.encoder.repeat(1.0)
    assert time.monotonic() - started < 0.5


def test_an_encoder_that_cannot_work_is_an_error() -> None:
    settings = settings_for()
    broken = Rig(
        EncoderSettings(**{name: getattr(settings, name) for name in settings.__slots__} | {"options": (("crf", "x"),)})
    )
    broken._thread.join(WAIT_S)
    broken.close()
    assert isinstance(broken.error, EncoderCrashed)
    assert broken.counters["encoder_restarts"] == 2


def test_an_abort_of_the_gate_ends_it(rig: Rig) -> None:
    rig.show(0)
    rig.wait(1)
    rig.gate.abort(Cancelled("the test"))
    rig._thread.join(5.0)
    assert not rig._thread.is_alive()
    slot = rig.encoder.slots.slot(3)
    rig.encoder.slots._free.remove(3)
    rig.encoder.submit(slot, 1.0, None)  # a picture that was being made meanwhile


def test_close_without_a_picture_and_while_hung() -> None:
    idle = LiveEncoder(settings_for(), Gate(), Counters())
    idle.close(1.0)
    idle.close(1.0)
    hung = Rig(settings_for(), patience_s=60.0)
    hung.show(0)
    hung.wait(1)
    os.kill(hung.pid(), signal.SIGSTOP)
    started = time.monotonic()
    hung.encoder.close(0.5)
    assert time.monotonic() - started < 3.0
    hung.close()
    late = hung.encoder.slots.slot(1)
    hung.encoder.slots._free.remove(1)
    hung.encoder.submit(late, 5.0, None)
    assert hung.encoder.slots.num_free > 0
