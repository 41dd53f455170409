"""Latencies by stage, over a sliding window."""

from __future__ import annotations

import threading

from streamsr.live.latency import WINDOW, Latency


def test_percentiles_are_measured_values() -> None:
    latency = Latency()
    assert latency.snapshot() == {}
    latency.add("encode", 0.25)
    only = latency.snapshot()["encode"]
    assert (only.p50_ms, only.p99_ms, only.count) == (250, 250, 1)
    for milliseconds in range(1, 101):
        latency.add("upscale", milliseconds / 1000)
    upscale = latency.snapshot()["upscale"]
    assert (round(upscale.p50_ms), round(upscale.p99_ms), upscale.count) == (50, 99, 100)
    assert list(latency.snapshot()) == ["encode", "upscale"]


def test_old_values_are_forgotten() -> None:
    latency = Latency()
    for _ in range(WINDOW):
        latency.add("wait", 9.0)
    for _ in range(WINDOW):
        latency.add("wait", 0.001)
    wait = latency.snapshot()["wait"]
    assert (wait.p99_ms, wait.count) == (1.0, WINDOW)


def test_written_and_read_by_several_threads() -> None:
    latency, stop = Latency(), threading.Event()

    def write(stage: str) -> None:
        while not stop.is_set():
            latency.add(stage, 0.002)

    threads = [threading.Thread(target=write, args=(f"stage {number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            assert all(found.p50_ms == 2.0 for found in latency.snapshot().values())
    finally:
        stop.set()
        for thread in threads:
            thread.join(5.0)
