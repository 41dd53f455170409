"""A process keeps the memory of large blocks that come and go, whichever of its threads takes them."""

from __future__ import annotations

import resource
import sys

import pytest

from streamsr.runtime.allocator import keeping
from streamsr.runtime.child import Child
from streamsr.runtime.gate import Gate
from tests.runtime.allocating import BLOCK, faults_of_a_later_thread

TIMES = 4
PAGES = TIMES * BLOCK // resource.getpagesize()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")


def faults(environment: dict[str, str]) -> int:
    child = Child("allocate", faults_of_a_later_thread, (TIMES,), Gate(), environment)
    try:
        return int(child.recv(30.0))
    finally:
        child.stop(1.0)


def test_a_child_keeps_its_memory_though_it_has_a_thread_from_the_start() -> None:
    assert faults({"GLIBC_TUNABLES": keeping("")}) < PAGES / 50
    # What it is without, so that the test shows something: every page anew, each time.
    assert faults({"GLIBC_TUNABLES": ""}) > PAGES / 2


def test_what_somebody_has_set_himself_stays() -> None:
    ours, theirs = keeping(""), "glibc.malloc.check=1"
    assert keeping(theirs) == f"{ours}:{theirs}"
    assert all(part.startswith("glibc.malloc.") for part in ours.split(":"))
