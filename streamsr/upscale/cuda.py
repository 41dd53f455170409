"""Work on a CUDA device: copies in, computation and copies out on three streams, overlapped across batches.

A `Station` is everything fixed for one (sizes, batch, tile): page-locked input, device input and output, a CUDA graph
of the whole chain. There are `STATIONS` of each kind, used in turn: while one computes, the next one's input travels in
and the last one's output travels out. Streams only ever wait for events; the host waits in `collect`."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field

import torch

from streamsr.runtime.slots import SlotRing
from streamsr.upscale.batches import Batch
from streamsr.upscale.chain import Chain
from streamsr.upscale.engine import slot_planes, stacked

STATIONS = 3
WARM_UPS = 3
MAX_KINDS = 4
"""Kinds of batches kept with a graph; a file that keeps changing its size runs without graphs beyond that."""


@dataclass(eq=False)
class Station:
    """The buffers, the graph and the events of one kind of batch. `is_used` once something was submitted to it."""

    staging: tuple[torch.Tensor, ...]
    planes_in: tuple[torch.Tensor, ...]
    means_host: torch.Tensor
    graph: torch.cuda.CUDAGraph | None = None
    planes_out: tuple[torch.Tensor, ...] = ()
    means: torch.Tensor | None = None
    arrived: torch.cuda.Event = field(default_factory=torch.cuda.Event)
    computed: torch.cuda.Event = field(default_factory=torch.cuda.Event)
    delivered: torch.cuda.Event = field(default_factory=torch.cuda.Event)
    is_used: bool = False


class CudaLane:
    """Slots are page-locked for the life of the lane. One thread at a time."""

    depth = STATIONS - 1

    def __init__(self, chain: Chain, slots: SlotRing) -> None:
        self._chain, self._slots = chain, slots
        self._device = chain.device
        self._stations: dict[tuple[object, ...], list[Station]] = {}
        self._turn = 0
        # fp32 must mean fp32: with TF32's 10 bits the way out would be wrong by half a code value at 10 bit. Sizes are
        # few and stay, so cuDNN may try its algorithms once.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        with torch.cuda.device(self._device):
            self._in, self._compute, self._out = (torch.cuda.Stream(self._device) for _ in range(3))
            self._pool = torch.cuda.graph_pool_handle()
        _page_lock(slots, self._device)

    def submit(self, batch: Batch, tile: int) -> Station:
        planes = stacked(batch.frames)
        with torch.cuda.device(self._device):
            station = self._station(planes, tile)
            if station.is_used:
                station.delivered.synchronize()
            station.is_used = True
            for place, plane in zip(station.staging, planes, strict=True):
                place.copy_(plane)
            with torch.cuda.stream(self._in):
                for place, plane in zip(station.planes_in, station.staging, strict=True):
                    place.copy_(plane, non_blocking=True)
                station.arrived.record()
            with torch.cuda.stream(self._compute):
                self._compute.wait_event(station.arrived)
                self._run(station, tile)
                station.computed.record()
            with torch.cuda.stream(self._out):
                self._out.wait_event(station.computed)
                self._deliver(station, batch)
                station.delivered.record()
        return station

    def collect(self, ticket: object) -> torch.Tensor:
        assert isinstance(ticket, Station)
        ticket.delivered.synchronize()
        return ticket.means_host

    def close(self) -> None:
        """Waits for what is in flight, then gives graphs, memory and the page lock back."""
        torch.cuda.synchronize(self._device)
        self._stations.clear()
        _page_unlock(self._slots)

    def _station(self, planes: tuple[torch.Tensor, ...], tile: int) -> Station:
        kind = (*(plane.shape for plane in planes), tile)
        if kind not in self._stations:
            self._stations[kind] = [self._new_station(planes) for _ in range(STATIONS)]
            if len(self._stations) <= MAX_KINDS:
                for station, plane in ((each, planes) for each in self._stations[kind]):
                    self._capture(station, plane, tile)
        self._turn += 1
        return self._stations[kind][self._turn % STATIONS]

    def _new_station(self, planes: tuple[torch.Tensor, ...]) -> Station:
        return Station(
            staging=tuple(torch.empty_like(plane, pin_memory=True) for plane in planes),
            planes_in=tuple(torch.empty_like(plane, device=self._device) for plane in planes),
            means_host=torch.empty((len(planes[0]), 2), pin_memory=True),
        )

    def _capture(self, station: Station, planes: tuple[torch.Tensor, ...], tile: int) -> None:
        """Warm up on a side stream (cuDNN chooses its algorithms there), then record. Real pixels, not zeros: an
        algorithm choice timed on zeros is timed at another clock rate."""
        for place, plane in zip(station.planes_in, planes, strict=True):
            place.copy_(plane)
        torch.cuda.synchronize(self._device)
        with torch.cuda.stream(self._compute):
            for _ in range(WARM_UPS):
                self._chain(station.planes_in, tile)
        self._compute.synchronize()
        graph = torch.cuda.CUDAGraph()
        # thread_local: the decoder and other engines may call CUDA on their own threads meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._compute, capture_error_mode="thread_local"):
            station.planes_out, station.means = self._chain(station.planes_in, tile)
        station.graph = graph

    def _run(self, station: Station, tile: int) -> None:
        if station.graph is not None:
            station.graph.replay()
        else:
            station.planes_out, station.means = self._chain(station.planes_in, tile)
            for result in (*station.planes_out, station.means):
                result.record_stream(self._out)

    def _deliver(self, station: Station, batch: Batch) -> None:
        assert station.means is not None
        for number, slot in enumerate(batch.slots):
            places = slot_planes(slot.memory, self._chain.look.layout_out, self._chain.target)
            for place, result in zip(places, station.planes_out, strict=True):
                place.copy_(result[number], non_blocking=True)
        station.means_host.copy_(station.means, non_blocking=True)


_locks: dict[int, int] = {}
"""Address of a page-locked ring -> lanes that use it: one per GPU, and one more each where fp32 had to help."""
_locks_guard = threading.Lock()


def _page_lock(slots: SlotRing, device: torch.device) -> None:
    """Locks the ring once for all lanes and GPUs. Where that is not allowed copies still work, but do not overlap."""
    portable = 1
    with _locks_guard:
        users = _locks.get(slots.base_address, 0)
        if not users and int(torch.cuda.cudart().cudaHostRegister(slots.base_address, slots.total_bytes, portable)):
            # CUDA keeps a refusal and torch would raise it at its next launch, wherever that is: let it be here.
            with contextlib.suppress(RuntimeError):
                torch.zeros(1, device=device)
            return
        _locks[slots.base_address] = users + 1


def _page_unlock(slots: SlotRing) -> None:
    with _locks_guard:
        users = _locks.pop(slots.base_address, 0)
        if users > 1:
            _locks[slots.base_address] = users - 1
        elif users:
            torch.cuda.cudart().cudaHostUnregister(slots.base_address)
