"""`preview` as it is started, on a real X display, ended in every way that a user knows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import pytest

from tests.live.screens import Screen
from tests.live.server_process import until
from tests.live.servers_devices import xvfb

RUN = (
    "import sys, run_stream; from pipelines.verb_preview import preview; run_stream.cli.add_command(preview);"
    "sys.exit(run_stream.main(sys.argv[1:]))"
)
WORDS = ("--device", "cpu", "--model", "lite", "--scale", "2")


@contextmanager
def previewing(screen: Screen, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", RUN, "preview", *words, *WORDS]
    env = {**os.environ, "DISPLAY": screen.name}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("how", ["q", "button", "interrupt"])
def test_a_preview_records_and_ends(sound_clip: Path, tmp_path: Path, how: str) -> None:
    with xvfb() as name:
        screen = Screen(name)
        record = ("--record", str(tmp_path / "seen.mkv"))
        with previewing(screen, str(sound_clip), "--loop", "--snapshots", str(tmp_path), *record) as process:
            window = screen.drawn_window("streamsr preview")
            until(lambda: any(file.stat().st_size > 20_000 for file in tmp_path.glob("seen-*.mkv")), "it is recorded")
            assert len(set(map(tuple, screen.picture()[300, ::16].tolist()))) > 3, "a picture is shown"
            began = time.monotonic()
            if how == "interrupt":
                process.send_signal(signal.SIGINT)
            elif how == "button":
                screen.press_close(window)
            else:
                screen.do("key", "q")
            _, said = process.communicate(timeout=20)
            took_s = time.monotonic() - began
    assert process.returncode == 0, said
    assert took_s < 6, "two seconds on a machine that does nothing else"
    [recording] = tmp_path.glob("seen-*.mkv")
    with av.open(str(recording)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (320, 180)
        assert sum(1 for _ in container.decode(video=0)) > 5


@pytest.mark.parametrize("source", ["camera:99", "no-such-file.mp4"])
def test_no_source_is_one_line_and_exit_code_3(source: str) -> None:
    with xvfb() as name, previewing(Screen(name), source) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "Traceback" not in said
