"""The age of the process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamsr.runtime import age


def test_age_counts_from_the_start_of_the_process() -> None:
    program = "import time; time.sleep(0.4); from streamsr.runtime.age import process_age_s; print(process_age_s())"
    started = time.monotonic()
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert 0.4 <= float(printed.stdout) <= time.monotonic() - started + 0.05


def test_age_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(age, "Path", lambda name: Path("/nonexistent"))
    first = age.process_age_s()
    time.sleep(0.02)
    assert age.process_age_s() - first >= 0.02
