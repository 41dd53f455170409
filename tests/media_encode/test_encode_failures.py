"""The encoder process dies, hangs or refuses, at the first, a middle and the last picture: an error in bounded time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import pytest

from streamsr.errors import EncoderCrashed, FrameMismatch, StageFailed
from streamsr.frames import Packet, Stamp, Upscaled
from streamsr.media.encode import Encoder
from streamsr.media.encoders import EncoderSettings
from streamsr.runtime.crew import Crew
from streamsr.runtime.slots import SlotRing
from tests.media_encode.rig import even_pts, numbered, settings_for, with_options

COUNT = 12
BOUND_S = 15.0
PATIENCE_S = 3.0
MOMENTS = {"first": 0, "middle": COUNT // 2, "last": COUNT - 1}


@dataclass(frozen=True)
class NoSlot:
    """A slot that does not exist."""

    index: int = 99

    def release(self) -> None:
        pass


def run(
    change: Callable[[Encoder, int, Upscaled], Upscaled] = lambda encoder, number, picture: picture,
    settings: EncoderSettings | None = None,
    patience_s: float = PATIENCE_S,
) -> list[Packet]:
    """All packets of COUNT pictures, each of which `change` sees before the encoder does."""
    settings = settings or settings_for(codec="h264")

    def changed(pictures: Iterator[Upscaled], encoder: Encoder) -> Iterator[Upscaled]:
        for number, picture in enumerate(pictures):
            yield change(encoder, number, picture)

    begun = time.monotonic()
    try:
        with SlotRing(3, settings.layout.num_bytes(settings.width, settings.height)) as ring, Crew(20.0) as crew:
            encoder = Encoder(settings, crew, ring, patience_s)
            pictures = changed(numbered(settings, ring, crew, even_pts(COUNT)), encoder)
            return list(crew.ahead(encoder.encode(pictures), 2, "encode"))
    finally:
        assert time.monotonic() - begun < BOUND_S


def signalled(which: signal.Signals, moment: int) -> Callable[[Encoder, int, Upscaled], Upscaled]:
    def change(encoder: Encoder, number: int, picture: Upscaled) -> Upscaled:
        if number == moment:
            os.kill(encoder._child.pid, which)
        return picture

    return change


def test_nothing_happens_without_a_fault() -> None:
    assert len(run()) == COUNT


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed(moment: str) -> None:
    with pytest.raises(EncoderCrashed, match=r"encoder process ended: killed by SIGKILL \(stage encode") as caught:
        run(signalled(signal.SIGKILL, MOMENTS[moment]))
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("moment", MOMENTS)
def test_hung(moment: str) -> None:
    with pytest.raises(EncoderCrashed, match="hung"):
        run(signalled(signal.SIGSTOP, MOMENTS[moment]))


@pytest.mark.parametrize("moment", MOMENTS)
def test_raised(moment: str) -> None:
    def change(encoder: Encoder, number: int, picture: Upscaled) -> Upscaled:
        return replace(picture, slot=NoSlot()) if number == MOMENTS[moment] else picture

    with pytest.raises(EncoderCrashed, match=r"exit code 1.*slot 99") as caught:
        run(change)
    assert "Traceback" in caught.value.last_words


def test_refused_options_bring_the_encoders_own_words() -> None:
    with pytest.raises(EncoderCrashed) as caught:
        run(settings=with_options(settings_for(codec="h264"), profile="nonsense"))
    assert "nonsense" in caught.value.last_words
    assert "\n" not in str(caught.value)


def test_a_refused_size_is_an_error() -> None:
    settings = replace(settings_for(codec="h264"), pix_fmt="nv12", width=96, height=64)
    assert len(run(settings=settings)) == COUNT  # repacked
    with pytest.raises(EncoderCrashed):
        run(settings=replace(settings, pix_fmt="yuyv422"))


def test_a_slow_source_is_not_a_hang() -> None:
    """The process has nothing to do for longer than the patience."""

    def change(encoder: Encoder, number: int, picture: Upscaled) -> Upscaled:
        if number == 3:
            time.sleep(1.5)
        return picture

    assert len(run(change, patience_s=0.8)) == COUNT


def test_doubled_times_are_a_mismatch() -> None:
    def change(encoder: Encoder, number: int, picture: Upscaled) -> Upscaled:
        return replace(picture, stamp=Stamp(5, 4 * 512, 512, Fraction(1, 12800))) if number == 5 else picture

    with pytest.raises((FrameMismatch, EncoderCrashed)):
        run(change)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_failing_source_ends_the_job(moment: str) -> None:
    def change(encoder: Encoder, number: int, picture: Upscaled) -> Upscaled:
        if number == MOMENTS[moment]:
            raise RuntimeError("no more pictures")
        return picture

    with pytest.raises(StageFailed, match="no more pictures") as caught:
        run(change)
    assert not isinstance(caught.value, EncoderCrashed)


def test_leaving_early_ends_the_process() -> None:
    settings: Any = settings_for(codec="h264")
    begun = time.monotonic()
    with SlotRing(3, settings.layout.num_bytes(settings.width, settings.height)) as ring, Crew(20.0) as crew:
        encoder = Encoder(settings, crew, ring, PATIENCE_S)
        packets = crew.ahead(encoder.encode(numbered(settings, ring, crew, even_pts(400))), 2, "encode")
        assert next(packets).is_keyframe
    assert not encoder._child.alive()
    assert time.monotonic() - begun < BOUND_S


def test_no_picture_at_all() -> None:
    settings = settings_for(codec="h264")
    with SlotRing(2, settings.layout.num_bytes(settings.width, settings.height)) as ring, Crew(20.0) as crew:
        assert list(Encoder(settings, crew, ring, PATIENCE_S).encode(iter(()))) == []
