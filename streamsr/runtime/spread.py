"""Sharing a stage among several workers without losing the order: deal in turn, collect in the same turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Generic, TypeVar

from streamsr.errors import FrameMismatch
from streamsr.runtime.channel import Channel

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")


@contextmanager
def closing_generator(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Closes `items` at the end of the block, on the thread that used it, if it can be closed. Its clean-up must not
    wait for the garbage collector: an error's traceback may keep it alive."""
    try:
        yield items
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


class Counted(Generic[A, B]):
    """One worker between its two channels. It may take several items before it gives the first result, but owes
    exactly one result per item, in order: one lost item would shift all later ones against the other workers."""

    def __init__(self, worker: Callable[[Iterator[A]], Iterator[B]], dealt: Iterator[A], name: str) -> None:
        self._worker, self._dealt, self._name = worker, dealt, name
        self._taken = 0

    def results(self) -> Iterator[B]:
        """The worker's results. Raises FrameMismatch when it gives more than it took, or ends owing some."""
        given = 0
        with closing_generator(self._worker(self._inputs())) as results:
            for result in results:
                given += 1
                if given > self._taken:
                    raise self._mismatch(f"{given} results for {self._taken} items", given - 1)
                yield result
        if given < self._taken:
            raise self._mismatch(f"{given} results for {self._taken} items", given)
        for _ in self._dealt:
            raise self._mismatch(f"ended after {given} items though there are more", given)

    def _inputs(self) -> Iterator[A]:
        for item in self._dealt:
            self._taken += 1
            yield item

    def _mismatch(self, what: str, index: int) -> FrameMismatch:
        return FrameMismatch(f"frames were lost or doubled: {what}", stage=self._name, index=index)


def deal(items: Iterator[A], hands: Sequence[Channel[A]]) -> Iterator[A]:
    """Puts item n into hand n modulo their number, then ends all hands. Yields what was dealt."""
    with closing_generator(items):
        for item, hand in zip(items, cycle(hands), strict=False):
            hand.put(item)
            yield item
    for hand in hands:
        hand.end()


def collect(results: Sequence[Iterator[B]]) -> Iterator[B]:
    """One result from each in turn, until the one in turn has ended."""
    for source in cycle(results):
        try:
            result = next(source)
        except StopIteration:
            break
        yield result
    # Every worker has checked its own count before it ended; waiting for them lets a failed check stop the consumer.
    for source in results:
        assert not list(source), "more results than items"
