"""Gathering frames into batches, each with the slots its results will go to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from streamsr.frames import Frame
from streamsr.runtime.gate import Gate
from streamsr.runtime.slots import Slot, SlotRing


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Frames of one size and layout, and a leased slot for each."""

    frames: tuple[Frame, ...]
    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        if not self.frames or len(self.frames) != len(self.slots):
            raise ValueError(f"{len(self.frames)} frames, {len(self.slots)} slots")


def in_batches(frames: Iterable[Frame], size: int, slots: SlotRing, gate: Gate, patience_s: float) -> Iterator[Batch]:
    """Consecutive frames, at most `size` each; a change of size in mid-stream starts a new batch.

    Slots are leased here, in the order of the frames, and not by the engines: engines that lease for themselves could
    all wait for the one whose picture is due next."""

    def batch() -> Batch:
        return Batch(tuple(gathered), tuple(slots.lease(gate, patience_s) for _ in gathered))

    gathered: list[Frame] = []
    for frame in frames:
        if gathered and (
            len(gathered) == size or (frame.width, frame.height) != (gathered[0].width, gathered[0].height)
        ):
            yield batch()
            gathered = []
        gathered.append(frame)
    if gathered:
        yield batch()
