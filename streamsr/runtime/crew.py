"""The owner of everything that runs beside the main thread: starts stages, watches them, ends all of them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from streamsr.errors import Interrupted, StageFailed, StreamSRError
from streamsr.runtime.channel import Channel
from streamsr.runtime.child import Child
from streamsr.runtime.gate import Cancelled, Gate
from streamsr.runtime.meters import Meter, Meters, metered
from streamsr.runtime.spread import Counted, closing_generator, collect, deal
from streamsr.runtime.watch import find_stall, stack_of

A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")

LEAVE_S, HURRY_S = 10.0, 2.0
"""The longest that leaving the block waits for threads to notice, whatever the patience; the second is for somebody who
has pressed Ctrl-C twice and sits before it, while a picture may take minutes on a CPU."""


class Crew:
    """With-block, entered last so that it ends first: nothing that a stage uses is closed before the stage has ended.

    Leaving the block ends everything; what nobody has taken by then is dropped. When a stage or the block failed, the
    first failure is raised, the others are its notes: a StreamSRError as it is, any other Exception as the cause of a
    StageFailed with the stage's name and the number of its item. KeyboardInterrupt and the like pass as they are.

    `patience_s`: when nothing at all moves for that long, the stage that is neither starved nor blocked has hung, and
    the job fails (see `meters.pulse` for slow work). `name`: what the block itself is called, as it takes the results.
    """

    def __init__(self, patience_s: float, name: str = "sink") -> None:
        self.patience_s, self.name = patience_s, name
        self.gate, self.meters = Gate(), Meters()
        self.stuck: dict[str, str] = {}
        """Threads that did not end in time, and their stacks. They are daemons and die with the process."""
        self._threads: dict[str, threading.Thread] = {}
        self._children: list[Child] = []
        self._failures: list[BaseException] = []
        self._stages: list[Meter] = []
        self._background: list[Meter] = []
        self._is_draining = False

    def __enter__(self) -> Crew:
        self._leave_meter = contextlib.ExitStack()
        self._own_meter = self.meters.open(self.name, is_consumer=True)
        self._leave_meter.enter_context(metered(self._own_meter))
        self._threads["watchdog"] = threading.Thread(target=self._watch, name="streamsr-watchdog", daemon=True)
        self._threads["watchdog"].start()
        return self

    def ahead(self, items: Iterable[T], depth: int, name: str, source: bool = False) -> Iterator[T]:
        """The items, made on a thread called `name` which stays at most `depth` results ahead of its one consumer, and
        which also closes a generator, before the consumer sees the end. `source`: ends early on `drain`."""
        channel: Channel[T] = Channel(depth, self.gate, name)
        meter = self.meters.open(name)
        self._stages.append(meter)
        self._run(name, meter, lambda: self._pump(items, channel, meter, source))
        return channel

    def spread(
        self,
        items: Iterable[A],
        workers: Sequence[Callable[[Iterator[A]], Iterator[B]]],
        depth: int,
        name: str,
    ) -> Iterator[B]:
        """The results in the order of the items, made by `workers` on threads name[0], name[1], ...: item n goes to
        worker n modulo their number. Each must yield exactly one result per item, else FrameMismatch. At most `depth`
        results wait per worker, and one item. The items are taken on a thread called `name.deal`."""
        hands: list[Channel[A]] = [Channel(1, self.gate, f"{name}[{n}]") for n in range(len(workers))]
        results = [
            self.ahead(Counted(worker, hand, hand.name).results(), depth, hand.name)
            for worker, hand in zip(workers, hands, strict=True)
        ]
        meter = self.meters.open(f"{name}.deal")
        self._stages.append(meter)
        self._run(meter.name, meter, lambda: self._exhaust(deal(iter(items), hands), meter))
        return collect(results)

    def run(self, call: Callable[[], T], name: str) -> T:
        """The result of `call`, made on a thread called `name` while this one waits, so that even a call that hangs
        for ever (a dead network disk) only ends the job. Raises Cancelled when that or another stage fails."""
        return next(self.ahead((call() for _ in (None,)), depth=1, name=name))

    def start(self, call: Callable[[], None], name: str) -> None:
        """Runs `call` on a thread called `name` until the block is left: it must end by itself or watch `gate`. It is
        no stage: `meters` leaves it out."""
        meter = Meter(name)
        self._background.append(meter)
        self._run(name, meter, call)

    def process(
        self,
        name: str,
        target: Callable[..., None],
        args: tuple[Any, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Child:
        """A child process that runs `target(connection, *args)`, see Child. It ends with the block."""
        self.gate.check()
        child = Child(name, target, args, self.gate, environment)
        self._children.append(child)
        return child

    def drain(self) -> None:
        """Soft end: every `ahead` with source=True ends after the item in hand; what was taken in is finished. May be
        called from a signal handler."""
        self._is_draining = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.gate.abort(Cancelled("the block was left"))
        else:
            self._fail(error, self.name, self._own_meter)
        wait_s = min(self.patience_s, HURRY_S if isinstance(self.gate.error, Interrupted) else LEAVE_S) / 2
        try:
            self._end_threads(wait_s)
        finally:
            for child in self._children:
                child.stop(1.0 if error is None else 0.0)
            self._end_threads(wait_s)
            self._own_meter.finish()
            self._leave_meter.close()
        self._note_stuck()
        failure = self._summary()
        if failure is not None and failure is not error:
            raise failure from failure.__cause__

    def _run(self, name: str, meter: Meter, call: Callable[[], None]) -> None:
        self.gate.check()
        assert name not in self._threads, f"two threads named {name}"
        thread = threading.Thread(target=self._guard, args=(name, meter, call), name=name, daemon=True)
        thread.start()
        self._threads[name] = thread

    def _guard(self, name: str, meter: Meter, call: Callable[[], None]) -> None:
        with metered(meter):
            try:
                call()
            except BaseException as error:
                self._fail(error, name, meter)
            finally:
                meter.finish()

    def _fail(self, error: BaseException, name: str, meter: Meter) -> None:
        if isinstance(error, Exception) and not isinstance(error, StreamSRError):
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            failure = StageFailed(what, stage=name, index=meter.items)
            failure.__cause__ = error
            error = failure
        if not isinstance(error, Cancelled):
            self._failures.append(error)
        self.gate.abort(error)

    def _pump(self, items: Iterable[T], channel: Channel[T], meter: Meter, is_source: bool) -> None:
        with closing_generator(iter(items)) as iterator:
            while True:
                # Room first, then the work: depth counts results that exist, as each may hold a slot.
                channel.wait_for_room()
                if is_source and self._is_draining:
                    break
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                channel.put(item)
                meter.items += 1
        channel.end()

    def _exhaust(self, items: Iterator[A], meter: Meter) -> None:
        for _ in items:
            meter.items += 1

    def _watch(self) -> None:
        while not self.gate.wait(min(0.5, self.patience_s / 10)):
            stall = find_stall(list(self._stages), [self._own_meter, *self._background], self.patience_s)
            if stall is not None:
                culprit = self._threads.get(stall.stage)
                if culprit is not None:
                    stall.add_note(stack_of(culprit))
                self._failures.append(stall)
                self.gate.abort(stall)

    def _end_threads(self, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        for thread in list(self._threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _note_stuck(self) -> None:
        self.stuck = {name: stack_of(thread) for name, thread in self._threads.items() if thread.is_alive()}
        if self.stuck and not self._failures:
            self._failures.append(StageFailed("the stage does not end", stage=next(iter(self.stuck))))

    def _summary(self) -> BaseException | None:
        first = self.gate.error
        if first is None or isinstance(first, Cancelled):
            first = self._failures[0] if self._failures else None
        if first is not None:
            for other in self._failures:
                if other is not first:
                    first.add_note(f"then {getattr(other, 'stage', '')}: {type(other).__name__}: {other}")
            for name, stack in self.stuck.items():
                first.add_note(f"thread {name} did not end:\n{stack}")
        return first
