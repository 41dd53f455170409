"""The status as JSON, as a file, as a line; and what counts as a problem."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from streamsr.display.status_line import DatedLines, status_line
from streamsr.errors import SinkError
from streamsr.live.stats import Percentiles
from streamsr.live.status import StatusFile, problems, to_json
from tests.live.moments import stream, target


def test_json_holds_all_and_is_plain() -> None:
    odd = stream(fps_in=float("nan"), latency={"total": Percentiles(float("inf"), 2.0, 1)}, av_offset_ms=None)
    told = json.loads(json.dumps(to_json([stream(), odd]), allow_nan=False))
    front, second = told["streams"]
    assert (told["format"], told["healthy"], told["problems"]) == (1, True, [])
    assert told["time"].endswith("+00:00")
    assert front["latency"]["total"] == {"p50_ms": 62.0, "p99_ms": 95.0, "count": 1000}
    assert front["counters"]["pictures_in"] == 93_000
    assert front["targets"][0]["num_bytes"] == 1_234_567
    assert (front["size_out"], front["model"], front["state"]) == ("2560x1440", "lite", "live")
    assert second["fps_in"] is second["av_offset_ms"] is second["latency"]["total"]["p50_ms"] is None


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({}, None),
        ({"targets": (target(state="away"), target())}, None),
        ({"state": "away"}, None),
        ({"state": "starting", "targets": ()}, "front: starting"),
        ({"state": "stopped"}, "front: stopped"),
        ({"state": "failed", "error": "no video track"}, "front: failed: no video track"),
        ({"targets": ()}, "front: no target is up yet"),
        ({"targets": (target(name="a", state="away", error="refused"),)}, "front: a away (refused)"),
        (
            {"state": "away", "error": "silent", "targets": (target(), target(name="b", state="failed"))},
            "front: source away: silent; b failed",
        ),
    ],
)
def test_what_is_a_problem(changed: dict[str, Any], line: str | None) -> None:
    assert problems([stream(**changed), stream(name="good")]) == ([line] if line else [])


def test_no_streams_are_a_problem() -> None:
    assert problems([]) == ["there are no streams"]
    assert to_json([])["healthy"] is False


def test_a_reader_of_the_file_always_sees_a_whole_status(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    file = StatusFile(path)
    assert json.loads(path.read_text())["streams"] == []
    is_over = threading.Event()

    def write() -> None:
        for number in range(300):
            file.write([stream(name=f"s{number}-{each}") for each in range(1 + number % 20)])
        is_over.set()

    writer = threading.Thread(target=write)
    writer.start()
    num_read = 0
    while not is_over.is_set():
        json.loads(path.read_text())
        num_read += 1
    writer.join(10)
    assert num_read > 1
    assert [each.name for each in tmp_path.iterdir()] == ["status.json"]


def test_a_file_that_cannot_be_written_is_told_at_the_start_only(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="--status-file"):
        StatusFile(tmp_path / "nowhere" / "status.json")
    folder = tmp_path / "folder"
    folder.mkdir()
    file = StatusFile(folder / "status.json")
    (folder / "status.json").unlink()
    folder.rmdir()
    file.write([stream()])
    assert "cannot write" in file.error
    folder.mkdir()
    file.write([stream()])
    assert file.error == ""
    assert json.loads((folder / "status.json").read_text())["healthy"] is True


def test_the_line_of_a_stream() -> None:
    assert status_line(stream()) == (
        "front: live 1:02:03, 640x360 -> 2560x1440 lite, 25.0 -> 24.8 fps, latency 62/95 ms, A/V -3 ms, dropped 3,"
        " 1/1 targets"
    )
    early = stream(state="starting", size_in="", size_out="", uptime_s=7.9, latency={}, av_offset_ms=None, targets=())
    assert status_line(early) == "front: starting 0:07, dropped 3"
    broken = target(name="rtmp://host/***", state="away", error="refused\nagain")
    line = status_line(stream(state="away", uptime_s=90_061, error="silent", targets=(target(), broken)))
    assert line.startswith("front: away 1 d 1:01:01, silent, ")
    assert line.endswith(r"1/2 targets, rtmp://host/*** away: refused\nagain")


def test_dated_lines() -> None:
    out = io.StringIO()
    lines = DatedLines(out, clock=lambda: 1_700_000_000.0)
    lines.notice("front: live")
    date, clock, rest = out.getvalue().split(" ", 2)
    assert (len(date), len(clock), rest) == (10, 8, "front: live\n")
    assert date == "2023-11-14" or date == "2023-11-15"
