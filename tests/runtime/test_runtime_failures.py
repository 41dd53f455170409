"""The failure matrix: stage x item x way of failing. The job ends in bounded time, names the stage, leaves nothing."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from streamsr.errors import StageFailed
from streamsr.runtime.child import Child
from streamsr.runtime.crew import Crew
from streamsr.runtime.slots import Slot, SlotRing
from tests.runtime import child_targets as targets

PATIENCE_S = 0.8
BOUND_S = 10.0
COUNT = 12
ITEMS = {"first": 0, "middle": 5, "last": COUNT - 1}

Picture = tuple[int, Slot]


class Job:
    """decode -> upscale[0], upscale[1] -> encode, with a process -> sink; one of them fails at one item."""

    def __init__(self, place: str, item: int, how: str) -> None:
        self.place, self.item, self.how = place, item, how
        self.released = threading.Event()
        """Ends the hanging thread once the test has seen it hang."""
        self.written: list[int] = []

    def run(self) -> None:
        in_child = self.item if self.place == "process" else -1
        with SlotRing(4, 100) as ring, Crew(PATIENCE_S if self.how == "hang" else 20.0, "main") as crew:
            self.crew = crew
            child = crew.process("encode", targets.doubler, (ring, in_child, self.how))
            assert child.recv(20) == "ready"  # a slow start is no stall
            frames = crew.ahead(self.decode(), 2, "decode", source=True)
            pictures = crew.spread(frames, [partial(self.upscale, ring=ring)] * 2, 1, "upscale")
            packets = crew.ahead(self.encode(pictures, child), 2, "encode")
            crew.run(lambda: self.write(packets), "sink")

    def decode(self) -> Iterator[int]:
        for number in range(COUNT):
            self.touch("decode", number)
            yield number

    def upscale(self, numbers: Iterator[int], ring: SlotRing) -> Iterator[Picture]:
        for number in numbers:
            self.touch("upscale", number)
            slot = ring.lease(self.crew.gate, 20)
            slot.memory[0] = number
            yield number, slot

    def encode(self, pictures: Iterator[Picture], child: Child) -> Iterator[int]:
        for number, slot in pictures:
            self.touch("encode", number)
            child.send((number, slot.index), 20)
            yield child.recv(20)
            slot.release()
        child.send(None, 20)

    def write(self, packets: Iterator[int]) -> None:
        for packet in packets:
            self.touch("sink", packet // 2)
            self.written.append(packet)

    def touch(self, place: str, number: int) -> None:
        if (place, number) == (self.place, self.item):
            if self.how == "raise":
                raise RuntimeError(f"{place} is unhappy")
            self.released.wait(60)


def stage_of(place: str, item: int) -> str:
    return {"upscale": f"upscale[{item % 2}]", "process": "encode"}.get(place, place)


@pytest.fixture
def job() -> Iterator[Callable[[str, int, str], Job]]:
    jobs: list[Job] = []

    def make(place: str, item: int, how: str) -> Job:
        jobs.append(Job(place, item, how))
        return jobs[-1]

    has_proc = os.path.isdir("/proc/self/fd")
    before = len(os.listdir("/proc/self/fd")) if has_proc else 0
    yield make
    for each in jobs:
        each.released.set()
    if has_proc:
        assert len(os.listdir("/proc/self/fd")) == before


def test_the_job_runs(job: Callable[[str, int, str], Job]) -> None:
    healthy = job("nowhere", -1, "raise")
    healthy.run()
    assert healthy.written == [2 * number for number in range(COUNT)]
    assert healthy.crew.stuck == {}


@pytest.mark.parametrize("when", ITEMS)
@pytest.mark.parametrize(
    ("place", "how"),
    [(place, how) for place in ("decode", "upscale", "encode", "sink") for how in ("raise", "hang")]
    + [("process", how) for how in ("raise", "hang", "kill")],
)
def test_failure_matrix(job: Callable[[str, int, str], Job], place: str, when: str, how: str) -> None:
    item = ITEMS[when]
    failing = job(place, item, how)
    began = time.monotonic()
    with pytest.raises(StageFailed) as caught:
        failing.run()
    assert time.monotonic() - began < BOUND_S
    assert caught.value.stage == stage_of(place, item)
    assert len(failing.written) <= item
    if how == "hang":
        assert "no progress for 0.8 s" in str(caught.value)
        assert set(failing.crew.stuck) == (set() if place == "process" else {caught.value.stage})
        assert any(re.search("in touch|in recv", note) for note in caught.value.__notes__)
    elif place == "process":
        expected = "exit code 1" if how == "raise" else "killed by SIGKILL"
        assert f"EOFError: process encode: {expected}" in str(caught.value)
    else:
        assert str(caught.value).startswith(f"RuntimeError: {place} is unhappy (stage {caught.value.stage}, item ")
        assert isinstance(caught.value.__cause__, RuntimeError)


def test_the_child_is_heard_after_its_death(job: Callable[[str, int, str], Job]) -> None:
    failing = job("process", 3, "raise")
    with pytest.raises(StageFailed):
        failing.run()
    assert failing.crew._children[0].last_words().endswith("RuntimeError: the child is unhappy\n")
