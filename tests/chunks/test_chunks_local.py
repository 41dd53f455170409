"""What a worker process is given and watched by."""

from __future__ import annotations

import errno
import subprocess
import sys
import time

import pytest

from streamsr.chunks.executor import Failure, Place, WorkSpec, describe, open_work
from streamsr.chunks.local import local_places
from streamsr.chunks.process import environment_of
from streamsr.chunks.vitals import Vitals, tree_cpu_seconds
from streamsr.errors import ConfigError, SinkError, SourceError, StageFailed, WeightsError
from streamsr.runtime.allocator import keeping


def test_places_share_the_cores() -> None:
    places = local_places(["cuda:0", "cuda:1"], 2, 9)
    assert [place.worker for place in places] == ["cuda:0-0", "cuda:1-0", "cuda:0-1", "cuda:1-1"]
    assert {place.threads for place in places} == {2}
    assert local_places(["cpu"], 8, 2)[0].threads == 1


@pytest.mark.parametrize(
    ("visible", "device", "chosen"),
    [
        (None, "cuda:1", "1"),
        ("4,5", "cuda:1", "5"),
        ("GPU-12,GPU-34", "cuda:0", "GPU-12"),
        (None, "cuda", "0"),
        ("4,5", "cpu", None),
        (None, "mps", None),
    ],
)
def test_a_worker_sees_its_own_card_only(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, device: str, chosen: str | None
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    environment = environment_of(Place(device, 3, "w"))
    assert environment.get("CUDA_VISIBLE_DEVICES") == chosen
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "3"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["GLIBC_TUNABLES"] == keeping("")


def test_files_are_where_they_are_or_in_the_folder() -> None:
    path = "/films/a/film.mkv"
    assert Place("cpu", 1, "w").here(path) == path
    here = Place("cpu", 1, "w", "/tmp/job").here(path)
    assert here.startswith("/tmp/job/")
    assert here.endswith("-film.mkv")
    assert here != Place("cpu", 1, "w", "/tmp/job").here("/films/b/film.mkv")


def test_errors_cross_as_what_they_are() -> None:
    full = SinkError("no room", where="x")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    for error, verdict, back in (
        (ConfigError("wrong", where="here", remedy="Do."), "fatal", ConfigError),
        (WeightsError("gone"), "fatal", WeightsError),
        (SourceError("torn", where="film"), "retry", SourceError),
        (full, "full", SinkError),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "full", SinkError),
        (StageFailed("slow", stage="decode", index=3), "retry", StageFailed),
        (ValueError("a\nb"), "retry", StageFailed),
    ):
        failure = describe(error)
        assert failure.verdict == verdict
        assert "\n" not in failure.line
        assert type(failure.as_error()) is back
        assert failure.line.rstrip(".") in str(failure.as_error())
    assert len(describe(ValueError("x" * 5000)).line) < 1000
    assert isinstance(Failure("odd", "Exception", "retry").as_error(), StageFailed)


def test_work_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no 'nothing' in tests\.chunks\.work_targets"):
        open_work(WorkSpec("tests.chunks.work_targets:nothing", None), Place("cpu", 1, "w"))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_processor_time_of_children_counts() -> None:
    burn = "import time\nend = time.monotonic() + 0.5\nwhile time.monotonic() < end: pass"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); input()"
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while tree_cpu_seconds(process.pid) < 0.1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.communicate(b"\n")
    assert tree_cpu_seconds(process.pid) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_silence_is_noticed_and_a_word_is_life() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        time.sleep(0.3)
        vitals = Vitals(process.pid, 0.4)
        vitals.are_gone()
        began = time.monotonic()
        while time.monotonic() - began < 1.0:
            vitals.seen()
            assert not vitals.are_gone()
            time.sleep(0.02)
        deadline = time.monotonic() + 10
        while not vitals.are_gone():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.communicate(b"\n")
