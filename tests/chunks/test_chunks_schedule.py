"""run_tasks with an executor whose clock and luck are drawn."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsr.chunks.executor import NO_TASK, Event, Kind, Task, Verdict
from streamsr.chunks.schedule import run_tasks
from streamsr.errors import ConfigError, SinkError, StageFailed
from streamsr.runtime.gate import Cancelled, Gate


@dataclass
class _Job:
    task: Task
    attempt: int
    left: float
    ends: Kind
    verdict: Verdict


@dataclass
class FakeExecutor:
    """Workers that exist in their clock only. `speeds`: work per second of each; `luck` decides how attempts end: with
    probability `p_fail` failed, `p_lost` lost; a lost worker comes back after `back_s`."""

    speeds: dict[str, float]
    luck: random.Random = field(default_factory=lambda: random.Random(0))
    p_fail: float = 0.0
    p_lost: float = 0.0
    back_s: float = 5.0
    bad: dict[int, Verdict] = field(default_factory=dict)
    """Tasks that fail always, and how."""
    clock: float = 0.0
    is_draining: bool = False
    jobs: dict[str, _Job] = field(default_factory=dict)
    away: dict[str, float] = field(default_factory=dict)
    pending: list[Event] = field(default_factory=list)
    begun: list[tuple[int, str]] = field(default_factory=list)
    calls: int = 0

    def __enter__(self) -> FakeExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def workers(self) -> tuple[str, ...]:
        return tuple(name for name in self.speeds if name not in self.away)

    def idle(self, avoid: frozenset[str] = frozenset()) -> bool:
        return self._free(avoid) is not None

    def submit(self, task: Task, attempt: int, avoid: frozenset[str]) -> None:
        worker = self._free(avoid)
        assert worker is not None, "submit without an idle worker"
        ends: Kind = "done"
        if task.key in self.bad or self.luck.random() < self.p_fail:
            ends = "failed"
        elif self.luck.random() < self.p_lost:
            ends = "lost"
        self.jobs[worker] = _Job(task, attempt, task.cost, ends, self.bad.get(task.key, "retry"))
        self.begun.append((task.key, worker))
        self.pending.append(Event("started", task.key, worker, attempt))

    def drain(self) -> None:
        self.is_draining = True

    def events(self, timeout_s: float) -> list[Event]:
        self.calls += 1
        assert self.calls < 100_000, "run_tasks waits for ever"
        self.clock += timeout_s
        events, self.pending = self.pending, []
        self.away = {name: until for name, until in self.away.items() if until > self.clock}
        for worker, job in list(self.jobs.items()):
            job.left -= timeout_s * self.speeds[worker]
            if job.left > 0:
                events.append(Event("progress", job.task.key, worker, job.attempt, frames=1))
                continue
            del self.jobs[worker]
            name = "SinkError" if job.verdict == "full" else "ConfigError"
            if job.ends == "done":
                events.append(Event("done", job.task.key, worker, job.attempt, result=job.task.key))
                continue
            events.append(
                Event(
                    job.ends, job.task.key, worker, job.attempt, error="broken", error_class=name, verdict=job.verdict
                )
            )
            if job.ends == "lost":
                self.away[worker] = self.clock + self.back_s
                events.append(Event("lost", NO_TASK, worker, 0))
        return events

    def _free(self, avoid: frozenset[str]) -> str | None:
        alive = set(self.workers())
        avoid = frozenset() if alive <= avoid else avoid
        return next((name for name in sorted(alive - avoid) if name not in self.jobs), None)


def tasks(*costs: float) -> list[Task]:
    return [Task(key, None, cost) for key, cost in enumerate(costs)]


def check_order(events: list[Event]) -> None:
    """started before progress before the end, per attempt; attempts one after the other."""
    states: dict[int, tuple[int, str]] = {}
    for event in events:
        if event.key == NO_TASK:
            continue
        attempt, state = states.get(event.key, (0, "ended"))
        if event.kind == "started":
            assert (state, event.attempt) == ("ended", attempt + 1)
            states[event.key] = (event.attempt, "running")
        else:
            assert (state, event.attempt) == ("running", attempt)
            if event.kind != "progress":
                states[event.key] = (attempt, "ended")


def done(events: list[Event]) -> Counter[int]:
    return Counter(event.key for event in events if event.kind == "done")


@settings(max_examples=150, deadline=None)
@given(
    costs=st.lists(st.floats(0.1, 60), max_size=25),
    speeds=st.lists(st.floats(0.2, 5), min_size=1, max_size=6),
    p_fail=st.floats(0, 0.4),
    p_lost=st.floats(0, 0.4),
    attempts=st.integers(1, 4),
    seed=st.integers(0, 1 << 30),
)
def test_every_task_once_or_a_named_chunk(
    costs: list[float], speeds: list[float], p_fail: float, p_lost: float, attempts: int, seed: int
) -> None:
    workers = {f"w{n}": speed for n, speed in enumerate(speeds)}
    executor = FakeExecutor(workers, random.Random(seed), p_fail, p_lost)
    events: list[Event] = []
    error = None
    try:
        for event in run_tasks(executor, tasks(*costs), attempts=attempts, gate=Gate()):
            events.append(event)  # noqa: PERF402 - what came before an error counts too
    except StageFailed as caught:
        error = caught
    check_order(events)
    assert not executor.jobs, "tasks in flight are finished also when one has failed for good"
    assert max(done(events).values(), default=0) <= 1
    assert max((event.attempt for event in events), default=0) <= attempts
    if error is None:
        assert sorted(done(events)) == list(range(len(costs)))
    else:
        assert error.index is not None
        assert error.index not in done(events)
        ends = [event for event in events if event.key == error.index and event.kind in ("failed", "lost")]
        assert len(ends) == attempts
        assert f"chunk {error.index} failed {attempts} times, at last: broken" in str(error)


@settings(max_examples=60, deadline=None)
@given(costs=st.lists(st.floats(0.1, 60), min_size=1, max_size=25), num=st.integers(1, 6))
def test_the_longest_goes_first(costs: list[float], num: int) -> None:
    executor = FakeExecutor({f"w{n}": 1.0 for n in range(num)})
    list(run_tasks(executor, tasks(*costs), gate=Gate()))
    order = [costs[key] for key, _ in executor.begun]
    assert order == sorted(costs, reverse=True)


def test_a_second_attempt_goes_to_another_worker() -> None:
    executor = FakeExecutor({"a": 1.0, "b": 1.0, "c": 1.0}, bad={0: "retry"})
    with pytest.raises(StageFailed, match="chunk 0 failed 3 times"):
        list(run_tasks(executor, tasks(9, 1, 1, 1, 1), gate=Gate()))
    assert {worker for key, worker in executor.begun if key == 0} == {"a", "b", "c"}


def test_the_only_worker_may_try_again() -> None:
    executor = FakeExecutor({"a": 1.0}, bad={0: "retry"})
    with pytest.raises(StageFailed, match="chunk 0 failed 2 times"):
        list(run_tasks(executor, tasks(9), attempts=2, gate=Gate()))


def test_a_fatal_failure_ends_it_at_once() -> None:
    executor = FakeExecutor({"a": 1.0, "b": 1.0}, bad={1: "fatal"})
    with pytest.raises(ConfigError, match="broken"):
        list(run_tasks(executor, tasks(100, 2), gate=Gate()))
    assert [job.task.key for job in executor.jobs.values()] == [0], "the other one is not waited for"
    assert Counter(key for key, _ in executor.begun)[1] == 1


def test_a_full_disk_lets_the_others_finish() -> None:
    executor = FakeExecutor({"a": 1.0, "b": 1.0}, bad={1: "full"})
    events: list[Event] = []
    with pytest.raises(SinkError, match="broken"):
        events.extend(_collected(executor, tasks(100, 90, 1, 1), events))
    assert done(events) == {0: 1}
    assert {key for key, _ in executor.begun} == {0, 1}


def _collected(executor: FakeExecutor, work: list[Task], events: list[Event]) -> list[Event]:
    for event in run_tasks(executor, work, gate=Gate()):
        events.append(event)  # noqa: PERF402 - what came before an error counts too
    return []


def test_drain_ends_after_those_in_flight() -> None:
    executor = FakeExecutor({"a": 1.0, "b": 1.0})
    events: list[Event] = []
    for event in run_tasks(executor, tasks(5, 4, 3, 2, 1), gate=Gate()):
        events.append(event)
        executor.drain()
    assert done(events) == {0: 1, 1: 1}


def test_nothing_to_do_is_no_work() -> None:
    assert list(run_tasks(FakeExecutor({}), [], gate=Gate())) == []


def test_an_abort_ends_it() -> None:
    gate, executor = Gate(), FakeExecutor({"a": 1.0})
    running = run_tasks(executor, tasks(50, 50), gate=gate)
    assert next(running).kind == "started"
    gate.abort(RuntimeError("enough"))
    with pytest.raises(Cancelled, match="enough"):
        list(running)


def test_late_news_of_an_old_attempt_are_dropped() -> None:
    executor = FakeExecutor({"a": 1.0})
    executor.pending = [Event("done", 0, "z", 7), Event("progress", 5, "z", 1)]
    events = list(run_tasks(executor, tasks(3), gate=Gate()))
    assert {event.worker for event in events} == {"a"}
    assert done(events) == {0: 1}
