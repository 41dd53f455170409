"""Engines: right pictures, in order, whatever the memory and the arithmetic do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from streamsr.errors import StageFailed
from streamsr.frames import ColorTags, Frame, Orientation, PixelLayout, Stamp
from streamsr.models.registry import Architecture
from streamsr.models.srvgg import SRVGG
from streamsr.models.weights import Network
from streamsr.runtime.gate import Gate
from streamsr.runtime.slots import SlotRing
from streamsr.upscale.batches import Batch, in_batches
from streamsr.upscale.chain import Look
from streamsr.upscale.engine import Engine, HostLane, slot_planes
from streamsr.upscale.memory import Budget, plan_budget
from streamsr.upscale.pixels import from_rgb
from streamsr.upscale.target import Target

TAGS = ColorTags(matrix=1, chroma_location=1)
LOOK = Look(PixelLayout(), TAGS, PixelLayout(), TAGS)
CPU = torch.device("cpu")
EXACT = Target(64, 48, Fraction(1), 4)


def nearest_network(scale: int = 4) -> Network:
    """An SRVGG whose convolutions are zero: it enlarges by repetition, so results can be told by arithmetic."""
    module = SRVGG(3, 3, 4, 1, scale).eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.zero_()
    architecture = Architecture("srvgg", scale, 3, 3, 4, 1)
    return Network(module, architecture, "nearest", Path("nearest.pth"), "0" * 64)


def parameters(network: Network) -> dict[str, torch.Tensor]:
    return dict(network.module.named_parameters())


def grey_frame(index: int, width: int = 16, height: int = 12) -> Frame:
    """Luma 40 + index everywhere, neutral chroma."""
    layout = PixelLayout()
    levels = (40 + index, 128, 128)
    planes = tuple(
        np.full(shape, level, np.uint8) for shape, level in zip(layout.plane_shapes(width, height), levels, strict=True)
    )
    for plane in planes:
        plane.flags.writeable = False
    return Frame(Stamp(index, index, 1, Fraction(1, 25)), planes, layout, width, height)


Run = Callable[..., list[tuple[int, tuple[int, int, int]]]]


@pytest.fixture
def run() -> Run:
    """Frames through an engine: (stamp index, mean of each plane) of every result."""
    notices: list[str] = []

    def upscale(
        frames: list[Frame],
        *,
        batch: int = 2,
        change: Callable[[Engine], None] = lambda engine: None,
        network: Network | None = None,
        look: Look = LOOK,
        dtype: torch.dtype = torch.float32,
        target: Target = EXACT,
    ) -> list[tuple[int, tuple[int, int, int]]]:
        with SlotRing(8, look.layout_out.num_bytes(target.width, target.height)) as slots:
            engine = Engine(
                network or nearest_network(), look, target, CPU, dtype, Budget(batch, 0), slots, notices.append
            )
            change(engine)
            results = []
            for pictures in engine.upscale(in_batches(iter(frames), batch, slots, Gate(), 5.0)):
                for picture in pictures:
                    planes = slot_planes(picture.slot.memory, look.layout_out, target)
                    means = tuple(round(float(plane.float().mean())) for plane in planes)
                    results.append((picture.stamp.index, means))
                    picture.slot.release()
            engine.close()
        return results  # type: ignore[return-value]

    upscale.notices = notices  # type: ignore[attr-defined]
    return upscale


def expected(count: int) -> list[tuple[int, tuple[int, int, int]]]:
    return [(index, (40 + index, 128, 128)) for index in range(count)]


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_order_and_count(run: Run, batch: int) -> None:
    assert run([grey_frame(index) for index in range(7)], batch=batch) == expected(7)


def test_size_change_in_mid_stream(run: Run) -> None:
    frames = [grey_frame(0), grey_frame(1), grey_frame(2, 20, 20), grey_frame(3, 32, 24), grey_frame(4)]
    assert run(frames, batch=3) == expected(5)


def test_upright(run: Run) -> None:
    """A bright top row of the stored picture, turned clockwise, is the right column; mirrored first, still the right
    one; turned the other way, the left one."""
    frame = grey_frame(0)
    luma = np.full((12, 16), 50, np.uint8)
    luma[0] = 200
    frame = replace(frame, planes=(luma, *frame.planes[1:]))
    for orientation, column in ((Orientation(90), -1), (Orientation(90, True), -1), (Orientation(270), 0)):
        look = replace(LOOK, orientation=orientation)
        target = Target(48, 64, Fraction(1), 4)
        with SlotRing(1, PixelLayout().num_bytes(48, 64)) as slots:
            engine = Engine(nearest_network(), look, target, CPU, torch.float32, Budget(1, 0), slots, print)
            [[picture]] = list(engine.upscale(iter([Batch((frame,), (slots.slot(0),))])))
            turned = slot_planes(picture.slot.memory, PixelLayout(), target)[0]
            assert int(turned[10, column]) > 190
            assert int(turned[10, 20]) == 50
            del turned, picture


def test_out_of_memory_halves_then_tiles(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = HostLane.submit
    limit = 12 * 8  # pixels at once

    def small_memory(lane: HostLane, batch: Batch, tile: int) -> torch.Tensor:
        frame = batch.frames[0]
        pixels = len(batch.frames) * (tile * tile if tile else frame.width * frame.height)
        if pixels > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.21 GiB")
        return real(lane, batch, tile)

    monkeypatch.setattr(HostLane, "submit", small_memory)
    monkeypatch.setattr("streamsr.upscale.engine.SMALLEST_TILE", 4)
    assert run([grey_frame(index) for index in range(6)], batch=4) == expected(6)
    notices = run.notices  # type: ignore[attr-defined]
    assert [line.split(": ")[1] for line in notices] == [
        "going on with batches of 2",
        "going on with batches of 1",
        "going on in tiles of 8 pixels",
    ]


def test_out_of_memory_for_good_is_one_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(lane: HostLane, batch: Batch, tile: int) -> torch.Tensor:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(HostLane, "submit", no_memory)
    with pytest.raises(StageFailed, match="even in tiles"):
        run([grey_frame(0)])


@pytest.mark.parametrize("flaw", ["nan", "black"])
def test_broken_half_precision_is_redone(run: Run, flaw: str) -> None:
    """A bias that fits into fp32 but not into fp16 makes infinity there; a lane that writes black is found as well."""
    network = nearest_network()
    if flaw == "nan":
        with torch.no_grad():
            parameters(network)["body.0.bias"].fill_(7e4)
        assert run([grey_frame(index) for index in range(3)], network=network, dtype=torch.float16) == expected(3)
    else:

        def blacken(engine: Engine) -> None:
            def black(lr: torch.Tensor) -> torch.Tensor:
                return lr.new_zeros(lr.shape[0], 48, *lr.shape[2:])

            engine._lane._chain.module.subpixels = black  # type: ignore[attr-defined]

        frames = [grey_frame(index) for index in range(3)]
        assert run(frames, network=network, dtype=torch.float16, change=blacken) == expected(3)
    assert len(run.notices) == 1  # type: ignore[attr-defined]
    assert "fp16 gave a black or invalid picture at frame 0" in run.notices[0]  # type: ignore[attr-defined]


def test_dark_pictures_are_not_called_broken(run: Run) -> None:
    frame = grey_frame(0)
    frame = replace(frame, planes=(np.full((12, 16), 16, np.uint8), *frame.planes[1:]))
    run([frame], dtype=torch.float16)
    assert run.notices == []  # type: ignore[attr-defined]


def test_weights_that_give_no_picture_are_one_error(run: Run) -> None:
    network = nearest_network()
    with torch.no_grad():
        for name in ("body.0.bias", "body.2.weight", "body.2.bias", "body.4.weight"):
            parameters(network)[name].fill_(3e38)
    with pytest.raises(StageFailed, match="not a picture"):
        run([grey_frame(0)], network=network)


def test_folded_network_equals_the_area_reduction() -> None:
    torch.manual_seed(11)
    full = SRVGG(3, 3, 8, 2, 4).eval()
    picture = torch.rand(1, 3, 10, 14)
    with torch.inference_mode():
        reduced = torch.nn.functional.avg_pool2d(full(picture), 2)
        assert torch.allclose(full.folded(2)(picture), reduced, atol=1e-6)


@pytest.mark.parametrize("depth", [8, 10, 12])
def test_exact_and_resized_ways_agree(run: Run, depth: int) -> None:
    """The sub-pixel tail and the long way (through a target one pixel away from exact) see the same grey."""
    layout = PixelLayout("420", depth)
    grey = torch.full((1, 3, 12, 16), 0.3)
    planes = tuple(
        plane[0].numpy() if depth == 8 else plane[0].numpy().view(np.uint16) for plane in from_rgb(grey, layout, TAGS)
    )
    frame = Frame(Stamp(0, 0, 1, Fraction(1, 25)), planes, layout, 16, 12)
    look = Look(layout, TAGS, layout, TAGS)
    exact = run([frame], look=look)
    long = run([frame], look=look, target=Target(60, 44, Fraction(1), 4))
    assert exact == long == [(0, tuple(int(plane.flat[0]) for plane in planes))]


def test_budget_tiles_large_pictures_and_batches_small_ones() -> None:
    network = nearest_network()
    assert plan_budget(network, CPU, 4, 64, 64, 0, 0).batch > 1
    assert plan_budget(network, CPU, 4, 64, 64, 0, 0).tile == 0
    assert plan_budget(network, CPU, 4, 16000, 16000, 0, 0).tile > 0
    assert plan_budget(network, CPU, 4, 16000, 16000, 3, 100) == Budget(3, 100)
