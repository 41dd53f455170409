"""What holds for every test: nothing stays behind; real material comes from the environment; no GPU can be a failure.

STREAMSR_MEDIA    folder with clips/, odd/ and broken/
STREAMSR_WEIGHTS  folder with realesr-animevideov3.pth
STREAMSR_TRAIN    folder with cartoon/, natural/, ...
STREAMSR_REQUIRE_GPU=1  makes tests marked `gpu` fail without a CUDA device instead of being skipped
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

# A busy machine is no failure: pytest's own timeout bounds every test.
settings.register_profile("streamsr", deadline=None)
settings.load_profile("streamsr")

GRACE_S = 3.0
LIBRARY_PROCESSES = ("multiprocessing.resource_tracker", "torch/_inductor/compile_worker")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    import torch  # only where a test asks for a GPU

    if not torch.cuda.is_available():
        if os.environ.get("STREAMSR_REQUIRE_GPU") == "1":
            pytest.fail("STREAMSR_REQUIRE_GPU=1 and there is no CUDA device")
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Every thread and process that a test starts ends with it."""
    threads, processes = set(threading.enumerate()), set(_children())
    yield
    deadline = time.monotonic() + GRACE_S
    while (left := _left(threads, processes)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, f"left behind: {left}"


def _left(threads: set[threading.Thread], processes: set[psutil.Process]) -> list[str]:
    # FFmpeg's own threads become Python's "dummies" when they log something; they are not ours to end.
    alive = [
        f"thread {thread.name}"
        for thread in threading.enumerate()
        if thread not in threads and not isinstance(thread, threading._DummyThread)
    ]
    return alive + [f"process {process}" for process in set(_children()) - processes]


def _children() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if not any(name in command for name in LIBRARY_PROCESSES):
            found.append(process)
    return found


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"set {variable} to run this test, see tests/conftest.py")
    path = Path(value)
    assert path.is_dir(), f"{variable}={value} is not a folder"
    return path


@pytest.fixture
def media_dir() -> Path:
    return _folder("STREAMSR_MEDIA")


@pytest.fixture
def weights_dir() -> Path:
    return _folder("STREAMSR_WEIGHTS")


@pytest.fixture
def train_dir() -> Path:
    return _folder("STREAMSR_TRAIN")
