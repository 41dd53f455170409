"""The program as a service runs it: two cameras, one of them off, a reload, the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
SECRET = "geheim-77"
PATIENCE_S = 60.0
CAMERAS = """
[defaults.upscale]
model = "lite"
scale = 1
[status]
interval_s = 0.5
file = "status.json"
listen = ":0"
[[stream]]
name = "front"
source = "lavfi:testsrc2=size=96x54:rate=10[out0];sine=frequency=400[out1]"
targets = ["record:rec/front.mp4"]
[[stream]]
name = "yard"
source = "rtsp://me:${CAM_PASSWORD}@127.0.0.1:9/1?token=${CAM_PASSWORD}"
targets = ["rtmp://127.0.0.1:9/app/${CAM_PASSWORD}"]
[stream.ingest]
retry = "forever"
"""


@contextmanager
def started(folder: Path, manager: str) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"NOTIFY_SOCKET": manager, "WATCHDOG_USEC": "2000000", "CAM_PASSWORD": SECRET}
    command = [sys.executable, str(ROOT / "run_stream.py"), "restream", "--config", "cameras.toml"]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, text=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(10)


def eventually(found: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.05)
    pytest.fail(f"{what}: not within {PATIENCE_S:g} s")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(socket, "AF_UNIX") or not hasattr(signal, "SIGHUP"), reason="a Unix is needed")
def test_two_cameras_one_off_a_reload_and_the_end(tmp_path: Path) -> None:
    (tmp_path / "cameras.toml").write_text(CAMERAS)

    def status() -> dict[str, Any]:
        try:
            return {each["name"]: each for each in json.loads((tmp_path / "status.json").read_text())["streams"]}
        except FileNotFoundError:
            return {}

    def words() -> list[str]:
        return [word for process in tree for word in process.cmdline()]

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.settimeout(PATIENCE_S)
        ear.bind(str(tmp_path / "notify"))
        with started(tmp_path, str(tmp_path / "notify")) as process:
            assert ear.recv(100) == b"READY=1"
            eventually(lambda: status().get("front", {}).get("counters", {}).get("pictures_out", 0) > 5, "pictures")
            eventually(lambda: status()["yard"]["state"] == "away", "the camera that is off")
            eventually(lambda: ear.recv(10_000) == b"WATCHDOG=1", "a sign of life")
            eventually(lambda: ear.recv(10_000).startswith(b"STATUS=front: live"), "the status line")

            main = psutil.Process(process.pid)
            tree = [main, *main.children(recursive=True)]
            assert len(tree) > 2, "ingest and encoder have processes of their own"
            assert not [word for word in words() if SECRET in word]

            (tmp_path / "cameras.toml").write_text(CAMERAS.replace('"yard"', '"gate"'))
            before_s = status()["front"]["uptime_s"]
            process.send_signal(signal.SIGHUP)
            eventually(lambda: status().keys() == {"front", "gate"}, "the new stream")
            assert status()["front"]["uptime_s"] >= before_s, "a stream that did not change is not touched"

            stopped_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
            assert time.monotonic() - stopped_s < 5
    assert status()["front"]["state"] == "stopped"
    told = (tmp_path / "log.txt").read_text() + (tmp_path / "status.json").read_text()
    assert SECRET not in told
    assert "status, metrics and health at http://127.0.0.1:" in told
    (recording,) = (tmp_path / "rec").iterdir()
    with av.open(str(recording)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 5
