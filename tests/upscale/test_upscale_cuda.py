"""The CUDA lane. Its order of work is checked anywhere, with streams, events and graphs that only keep a diary; that it
is fast and right on a card is for the tests marked `gpu`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamsr.frames import ColorTags, Frame, PixelLayout, Stamp
from streamsr.models.registry import Architecture
from streamsr.models.srvgg import SRVGG
from streamsr.models.weights import Network
from streamsr.runtime.gate import Gate
from streamsr.runtime.slots import SlotRing
from streamsr.upscale import cuda
from streamsr.upscale.batches import Batch, in_batches
from streamsr.upscale.chain import Chain, Look
from streamsr.upscale.engine import Engine, HostLane, slot_planes
from streamsr.upscale.memory import Budget
from streamsr.upscale.target import Target
from tests.upscale.test_upscale_engine import nearest_network

TAGS = ColorTags(matrix=1, chroma_location=1)
LOOK = Look(PixelLayout(), TAGS, PixelLayout(), TAGS)
TARGET = Target(64, 48, Fraction(1), 4)
CPU = torch.device("cpu")
NUM_BYTES = PixelLayout().num_bytes(TARGET.width, TARGET.height)


def noisy_frame(index: int) -> Frame:
    generator = np.random.default_rng(index)
    layout = PixelLayout()
    planes = tuple(generator.integers(30, 220, shape, np.uint8) for shape in layout.plane_shapes(16, 12))
    return Frame(Stamp(index, index, 1, Fraction(1, 25)), planes, layout, 16, 12)


def luma_of(slots: SlotRing, number: int) -> torch.Tensor:
    return slot_planes(slots.slot(number).memory, PixelLayout(), TARGET)[0].clone()


class Diary:
    """A chain that remembers its calls, and the lines that streams, events and graphs write into it."""

    def __init__(self, chain: Chain) -> None:
        self.chain, self.lines = chain, list[str]()
        self.calls: list[tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...], torch.Tensor]] = []

    def __call__(self, planes: tuple[torch.Tensor, ...], tile: int) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        results, means = self.chain(planes, tile)
        self.calls.append((planes, results, means))
        return results, means

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chain, name)


class FakeEvent:
    def __init__(self, diary: Diary) -> None:
        self.diary = diary

    def record(self) -> None:
        self.diary.lines.append("record")

    def synchronize(self) -> None:
        self.diary.lines.append("host waits")


class FakeStream:
    def __init__(self, diary: Diary, name: str) -> None:
        self.diary, self.name = diary, name

    def wait_event(self, event: FakeEvent) -> None:
        self.diary.lines.append(f"{self.name} waits")

    def synchronize(self) -> None:
        self.diary.lines.append(f"host waits for {self.name}")


class FakeGraph:
    """Replays by computing again from the same tensors into the same tensors."""

    call: tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...], torch.Tensor]

    def __init__(self, diary: Diary) -> None:
        self.diary = diary

    @torch.inference_mode()
    def replay(self) -> None:
        self.diary.lines.append("replay")
        planes, results, means = self.call
        again, means_again = self.diary.chain(planes, 0)
        for place, value in zip((*results, means), (*again, means_again), strict=True):
            place.copy_(value)


class FakeRuntime:
    def __init__(self, diary: Diary) -> None:
        self.diary = diary

    def cudaHostRegister(self, address: int, length: int, flags: int) -> int:  # noqa: N802 - CUDA's name
        self.diary.lines.append("lock")
        return 0

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802 - CUDA's name
        self.diary.lines.append("unlock")
        return 0


@contextlib.contextmanager
def entered(*args: object) -> Iterator[None]:
    yield


def unpinned(maker: Any) -> Any:
    return lambda *args, pin_memory=False, **options: maker(*args, **options)


@pytest.fixture
def lane(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[cuda.CudaLane, Diary, SlotRing]]:
    """A lane on torch.cuda's stand-ins: what is asked for is done at once, on the CPU."""
    diary = Diary(Chain(nearest_network(), LOOK, TARGET, CPU, torch.float32))
    names = iter(("in", "compute", "out"))

    @contextlib.contextmanager
    def graph(recorded: FakeGraph, **options: object) -> Iterator[None]:
        assert options["capture_error_mode"] == "thread_local"
        yield
        recorded.call = diary.calls[-1]

    class Station(cuda.Station):
        def __init__(self, **fields: Any) -> None:
            events = {name: FakeEvent(diary) for name in ("arrived", "computed", "delivered")}
            super().__init__(**events, **fields)  # type: ignore[arg-type]

    replacements = {
        "Stream": lambda device: FakeStream(diary, next(names)),
        "CUDAGraph": lambda: FakeGraph(diary),
        "cudart": lambda: FakeRuntime(diary),
        "graph": graph,
        "stream": entered,
        "device": entered,
        "graph_pool_handle": lambda: (0, 1),
        "synchronize": lambda device: None,
    }
    for name, value in replacements.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(cuda, "Station", Station)
    monkeypatch.setattr(torch, "empty", unpinned(torch.empty))
    monkeypatch.setattr(torch, "empty_like", unpinned(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    with SlotRing(8, NUM_BYTES) as slots:
        made = cuda.CudaLane(diary, slots)  # type: ignore[arg-type]
        yield made, diary, slots
        made.close()
    assert diary.lines[0] == "lock"
    assert diary.lines[-1] == "unlock"


@pytest.mark.parametrize("with_graphs", [True, False])
def test_stations_take_turns_and_lose_nothing(
    lane: tuple[cuda.CudaLane, Diary, SlotRing], with_graphs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, diary, slots = lane
    if not with_graphs:
        monkeypatch.setattr(cuda, "MAX_KINDS", 0)
    batches = [Batch((noisy_frame(number),), (slots.slot(number),)) for number in range(7)]
    tickets = [made.submit(batch, 0) for batch in batches]
    for ticket in tickets:
        assert bool(torch.isfinite(made.collect(ticket)).all())
    assert len({id(ticket) for ticket in tickets}) == cuda.STATIONS
    with SlotRing(7, NUM_BYTES) as others:
        host = HostLane(Chain(nearest_network(), LOOK, TARGET, CPU, torch.float32))
        for number, batch in enumerate(batches):
            host.submit(Batch(batch.frames, (others.slot(number),)), 0)
            assert torch.equal(luma_of(slots, number), luma_of(others, number))
    assert diary.lines.count("replay") == (7 if with_graphs else 0)


def test_streams_wait_for_each_other(lane: tuple[cuda.CudaLane, Diary, SlotRing]) -> None:
    """In, compute, out; and a station that is still delivering is not filled again."""
    made, diary, slots = lane
    made.submit(Batch((noisy_frame(0),), (slots.slot(0),)), 0)
    before = len(diary.lines)
    for number in range(1, 4):
        made.submit(Batch((noisy_frame(number),), (slots.slot(number),)), 0)
    one = ["record", "compute waits", "replay", "record", "out waits", "record"]
    assert diary.lines[before:] == [*one, *one, "host waits", *one]


def test_the_ring_is_locked_once_for_all_lanes(lane: tuple[cuda.CudaLane, Diary, SlotRing]) -> None:
    _, diary, slots = lane
    cuda._page_lock(slots, CPU)
    cuda._page_lock(slots, CPU)
    cuda._page_unlock(slots)
    cuda._page_unlock(slots)
    assert diary.lines.count("lock") == 1
    assert "unlock" not in diary.lines


def test_a_refused_lock_is_no_failure(
    lane: tuple[cuda.CudaLane, Diary, SlotRing], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, diary, _ = lane
    monkeypatch.setattr(FakeRuntime, "cudaHostRegister", lambda runtime, address, length, flags: 712)
    with SlotRing(1, NUM_BYTES) as other:
        cuda._page_lock(other, CPU)
        cuda._page_unlock(other)
    assert "unlock" not in diary.lines


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_cuda_equals_the_cpu(dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    module = SRVGG(3, 3, 32, 6, 4).eval().requires_grad_(False)
    network = Network(module, Architecture("srvgg", 4, 3, 3, 32, 6), "random", Path(), "")
    frames = [noisy_frame(index) for index in range(9)]
    pictures: dict[str, list[torch.Tensor]] = {}
    for name, device, precision in (("cpu", CPU, torch.float32), ("cuda", torch.device("cuda", 0), dtype)):
        with SlotRing(12, NUM_BYTES) as slots:
            engine = Engine(network, LOOK, TARGET, device, precision, Budget(2, 0), slots, print)
            pictures[name] = []
            for batch in engine.upscale(in_batches(iter(frames), 2, slots, Gate(), 30.0)):
                for picture in batch:
                    pictures[name].append(luma_of(slots, picture.slot.index).float())
                    picture.slot.release()
            engine.close()
    assert len(pictures["cuda"]) == 9
    for ours, theirs in zip(pictures["cuda"], pictures["cpu"], strict=True):
        error = (ours - theirs).square().mean().clamp_min(1e-6)
        assert float(10 * torch.log10(255**2 / error)) > 45
