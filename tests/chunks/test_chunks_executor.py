"""One contract, two executors: processes of this machine, and a Ray cluster of two nodes on it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from streamsr.chunks.executor import Event, Executor, Task, WorkSpec
from streamsr.chunks.schedule import run_tasks
from streamsr.errors import ConfigError, StageFailed
from streamsr.runtime.crew import Crew
from streamsr.runtime.gate import Cancelled, Gate
from tests.chunks.executors import (
    LONG_S,
    PATIENCE_S,
    TARGET,
    Both,
    diary,
    is_alive,
    open_ray,
    results,
    run,
    squares,
    until,
)

Open = Callable[..., AbstractContextManager[Executor]]

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]


@pytest.fixture(params=["local", "ray"])
def open_executor(request: pytest.FixtureRequest, cluster: Any, tmp_path: Path) -> Open:
    """Opens an executor with two workers, whose work is tests.chunks.work_targets with more in its setup."""

    def _open(**setup: Any) -> AbstractContextManager[Executor]:
        facts = {"folder": str(tmp_path), **setup}
        if request.param == "local":
            return Both(Crew(LONG_S), WorkSpec(TARGET, facts))
        return open_ray(cluster, WorkSpec(TARGET, facts))

    return _open


def test_every_task_is_done_once_by_workers_that_open_once(open_executor: Open, tmp_path: Path) -> None:
    with open_executor() as executor:
        assert len(executor.workers()) == 2
        events = run(executor, squares(8, steps=4, step_s=0.02))
    assert results(events) == {n: n * n for n in range(8)}
    begun = [int(words[2]) for words in diary(tmp_path, "begin")]
    assert sorted(begun) == list(range(8))
    assert max(begun[:2]) == 7, "the costliest are begun first"
    assert 1 <= len(diary(tmp_path, "open")) <= 2
    assert {event.attempt for event in events} == {1}
    assert all(event.seconds > 0.05 for event in events if event.kind == "done")


def test_it_is_told_in_order_and_progress_is_seen(open_executor: Open) -> None:
    with open_executor() as executor:
        events = run(executor, squares(2, steps=30, step_s=0.05))
    for key in range(2):
        of_task = [event for event in events if event.key == key]
        kinds = [event.kind for event in of_task]
        assert kinds[0] == "started"
        assert kinds[-1] == "done"
        assert kinds[1:-1] == ["progress"] * (len(kinds) - 2)
        frames = [event.frames for event in of_task if event.kind == "progress"]
        assert frames
        assert frames == sorted(frames)
        assert frames[-1] <= 30
        assert len({event.worker for event in of_task}) == 1


def test_both_workers_work_at_the_same_time(open_executor: Open, tmp_path: Path) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    tasks = [
        Task(0, {"do": "wait_for", "begun": first, "until": second}, 1),
        Task(1, {"do": "wait_for", "begun": second, "until": first}, 1),
    ]
    with open_executor() as executor:
        assert results(run(executor, tasks)) == {0: "waited", 1: "waited"}
    assert Path(first).read_text() != Path(second).read_text()


def test_a_worker_knows_its_place(open_executor: Open) -> None:
    with open_executor() as executor:
        (place,) = results(run(executor, [Task(0, {"do": "where"}, 1)])).values()
    assert (place["device"], place["threads"], place["OMP_NUM_THREADS"]) == ("cpu", 1, "1")
    assert place["pid"] != os.getpid()


def test_a_failure_crosses_with_its_class(open_executor: Open) -> None:
    failures = {
        "source": ("SourceError", "retry", "the film is torn (film.mp4). Get another"),
        "value": ("ValueError", "retry", "ValueError: two lines"),
        "config": ("ConfigError", "fatal", "a wrong key (here)"),
        "full": ("SinkError", "full", "the disk is full (part.nut)"),
    }
    with open_executor() as executor:
        for key, (how, expected) in enumerate(failures.items()):
            until(lambda: executor.events(0.1) or executor.idle(), "no worker")
            executor.submit(Task(key, {"do": "fail", "how": how}, 1), 1, frozenset())
            events: list[Event] = []
            while len(events) < 2:
                events += [event for event in executor.events(LONG_S) if event.key == key]
            started, failed = events
            assert (started.kind, failed.kind, failed.attempt) == ("started", "failed", 1)
            assert failed.worker == started.worker
            assert (failed.error_class, failed.verdict, failed.error) == expected


@pytest.mark.parametrize("how", ["kill", "hang", "raise"])
def test_what_a_worker_does_not_finish_another_does(open_executor: Open, tmp_path: Path, how: str) -> None:
    task = Task(9, {"do": "fail_once", "how": how, "mark": str(tmp_path / "mark")}, 100)
    with open_executor() as executor:
        events = run(executor, [task, *squares(4)])
        assert len(executor.workers()) == 2, "a lost worker is replaced"
    assert results(events) == {9: "done at last", **{n: n * n for n in range(4)}}
    (first,) = [event for event in events if event.key == 9 and event.kind in ("lost", "failed")]
    assert (first.attempt, first.kind) == (1, "failed" if how == "raise" else "lost")
    assert {"kill": "SIGKILL", "hang": "no sign of life for 2 s", "raise": "not the first time"}[how] in first.error
    (done,) = [event for event in events if event.key == 9 and event.kind == "done"]
    assert done.attempt == 2
    assert done.worker != first.worker
    assert sorted(int(words[2]) for words in diary(tmp_path, "begin") if words[1] == "square") == [0, 1, 2, 3]


def test_long_silent_work_is_not_a_hang(open_executor: Open) -> None:
    with open_executor() as executor:
        events = run(executor, [Task(0, {"do": "burn", "seconds": 2 * PATIENCE_S}, 1)])
    assert results(events) == {0: "burnt"}
    assert {event.attempt for event in events} == {1}


def test_drain_finishes_what_was_begun(open_executor: Open, tmp_path: Path) -> None:
    go = tmp_path / "go"
    waits = [
        Task(n, {"do": "wait_for", "begun": str(tmp_path / f"begun{n}"), "until": str(go)}, 100 + n) for n in (10, 11)
    ]
    events: list[Event] = []
    with open_executor() as executor:
        for event in run_tasks(executor, [*waits, *squares(5)], gate=Gate()):
            events.append(event)
            if sum(event.kind == "started" for event in events) == 2 and not executor.is_draining:
                executor.drain()
                go.touch()
    assert results(events) == {10: "waited", 11: "waited"}
    assert {words[1] for words in diary(tmp_path, "begin")} == {"wait_for"}


def test_leaving_with_an_error_ends_all_workers(open_executor: Open, tmp_path: Path) -> None:
    begun = [tmp_path / "begun0", tmp_path / "begun1"]
    tasks = [Task(n, {"do": "wait_for", "begun": str(begun[n]), "until": "/nowhere"}, 1) for n in range(2)]

    def stop_in_the_middle() -> None:
        with open_executor() as executor:
            started = 0
            for event in run_tasks(executor, tasks, gate=Gate()):
                started += event.kind == "started"
                if started == 2:
                    until(lambda: all(file.exists() and file.read_text() for file in begun), "not begun")
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_in_the_middle()
    pids = [int(file.read_text()) for file in begun]
    until(lambda: not any(map(is_alive, pids)), "a worker lives on")


@pytest.mark.parametrize(
    ("fails", "error", "words"),
    [("raise", ConfigError, "the setup is wrong"), ("crash", StageFailed, "exit code 3: no such library")],
)
def test_work_that_cannot_be_opened_is_a_clear_error(
    open_executor: Open, fails: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words), open_executor(fails=fails) as executor:
        run(executor, squares(2))


def test_an_idle_local_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with Both(Crew(LONG_S), WorkSpec(TARGET, {"folder": str(tmp_path)})) as executor:
        until(lambda: executor.events(0.1) or len(diary(tmp_path, "open")) == 2, "not open")
        victim = int(diary(tmp_path, "open")[0][2])
        os.kill(victim, signal.SIGKILL)
        assert results(run(executor, squares(4))) == {n: n * n for n in range(4)}
        until(lambda: executor.events(0.1) or len(diary(tmp_path, "open")) == 3, "not replaced")
    until(lambda: not is_alive(victim), "not dead")


def test_a_place_that_fails_always_is_given_up_and_says_so(tmp_path: Path) -> None:
    with Both(Crew(LONG_S), WorkSpec(TARGET, {"folder": str(tmp_path)})) as executor:
        tasks = [Task(0, {"do": "fail", "how": "value"}, 1)]
        events: list[Event] = []
        with pytest.raises(StageFailed, match=r"chunk 0 failed 6 times, at last: ValueError: two lines"):
            events.extend(run_tasks(executor, tasks, attempts=6, gate=Gate()))
    assert len(diary(tmp_path, "begin")) == 6


def test_the_end_of_the_parents_gate_cancels(tmp_path: Path) -> None:
    gate = Gate()
    with Both(Crew(LONG_S), WorkSpec(TARGET, {"folder": str(tmp_path)})) as executor:
        timer = threading.Timer(0.3, gate.abort, [RuntimeError("enough")])
        timer.start()
        with pytest.raises(Cancelled, match="enough"):
            for _ in run_tasks(executor, squares(2, steps=1000, step_s=0.1), gate=gate):
                pass
        timer.join()
