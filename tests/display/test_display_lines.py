"""Displays for logs and machines."""

from __future__ import annotations

import io
import json
import threading

import pytest

from streamsr.display.lines import JsonLines, Plain, Silent
from streamsr.display.progress import open_display
from streamsr.display.words import printable, progress_line, size_text, time_text
from streamsr.report import Progress, Report

NOW = Progress("film.mp4", 12, 48, 6.0, 6.0, 2.0, "upscale[0]", 812_000_000)
DONE = Report(
    "film.mp4", "out/film.mp4", 48, 48, 8.0, "film.mp4: 48 frames in and out", {"timing": {"stopped_early": False}}
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_choice_of_display() -> None:
    out, err = io.StringIO(), io.StringIO()
    assert type(open_display("auto", out, err)) is Plain
    assert type(open_display("none", out, err)) is Silent
    assert type(open_display("json", out, Terminal())) is JsonLines
    assert type(open_display("auto", out, Terminal())).__name__ == "Bar"
    assert type(open_display("bar", out, err)).__name__ == "Bar"


def test_plain_lines_come_now_and_then() -> None:
    clock = iter([0.0, 9.9, 10.0, 10.0, 10.1, 19.0, 21.0, 21.0])
    err = io.StringIO()
    with Plain(err, every_s=10, clock=lambda: next(clock)) as display:
        display.notice("lite: made for CPUs")
        for _ in range(5):
            display.progress(NOW)
        display.done(DONE)
    line = "film.mp4: 12/48 frames (25 %), 6.0 fps, ETA 0:06, slowest upscale[0], 812 MB"
    assert err.getvalue().splitlines() == ["lite: made for CPUs", line, line, "film.mp4: 48 frames in and out"]


def test_silence_lets_errors_through() -> None:
    err = io.StringIO()
    with Silent(err) as display:
        display.notice("x")
        display.progress(NOW)
        display.done(DONE)
        display.failed("film.mp4", "no video track (film.mp4). Give another", 3)
    assert err.getvalue() == "error: no video track (film.mp4). Give another\n"


def test_json_lines_are_objects_of_plain_values() -> None:
    out, err = io.StringIO(), io.StringIO()
    with JsonLines(out, err) as display:
        display.notice("Größe \n 映画")
        display.progress(Progress("f", 0, None, float("nan"), None, 0.1, "", 0))
        display.done(DONE)
        display.failed("film.mp4", "it broke", 6, "Traceback\n  here")
    assert out.getvalue().isascii()
    events = [json.loads(line, parse_constant=pytest.fail) for line in out.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["notice", "progress", "done", "error"]
    assert events[0]["text"] == "Größe \n 映画"
    assert events[1]["total"] is events[1]["fps"] is events[1]["eta_s"] is None
    assert events[2]["facts"] == DONE.facts
    assert events[2]["frames_out"] == 48
    assert events[3] == {"event": "error", "file": "film.mp4", "message": "it broke", "exit_code": 6}
    assert err.getvalue().splitlines() == ["Traceback", "  here", "error: it broke"]


def test_json_lines_of_several_threads_do_not_mix() -> None:
    out = io.StringIO()
    display = JsonLines(out, io.StringIO())

    def report() -> None:
        for _ in range(50):
            display.progress(NOW)

    threads = [threading.Thread(target=report) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [json.loads(line)["frames"] for line in out.getvalue().splitlines()] == [12] * 200


def test_a_stream_of_another_encoding_or_gone_never_raises() -> None:
    raw = io.BytesIO()
    narrow = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    with Plain(narrow) as display:
        display.notice("映画 \udcff.mp4 … done")
        narrow.close()
        display.notice("after the end")
        display.failed("x", "y", 1)
    with Plain(io.TextIOWrapper(last := io.BytesIO(), encoding="utf-8", write_through=True)) as display:
        display.notice("映画 \udcff")
        assert last.getvalue() == "映画 \\udcff\n".encode()


def test_words() -> None:
    assert printable("a\x1b[2J\nb\tc é 映") == "a\\x1b[2J\\nb\\tc é 映"
    assert [time_text(value) for value in (None, 0, 59.6, 3599, 3661, 1e9, float("nan"))] == [
        "-:--",
        "0:00",
        "1:00",
        "59:59",
        "1:01:01",
        "-:--",
        "-:--",
    ]
    assert [size_text(value) for value in (0, 812e6, 999.6e6, 2.44e9)] == ["0 MB", "812 MB", "1.0 GB", "2.4 GB"]
    assert progress_line(Progress("a/b.mp4", 3, None, 1.0, None, 3, "decode", 0)).startswith("b.mp4: 3 frames, 1.0 fps")
