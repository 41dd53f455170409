from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from streamsr.live.address import parse_source
from streamsr.media import adts
from streamsr.media.ingest_watch import IngestWatch
from streamsr.media.live_input import InputSettings, open_live
from streamsr.media.pace import Pace
from tests.media import make_clip


def test_large_pictures_are_decoded_by_frame_threads_where_there_are_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [make_clip(tmp_path / f"{w}.mp4", frames=4, size=(w, h)) for w, h in ((1280, 720), (320, 180))]
    chosen = []
    for cores in (8, 2):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        for clip in clips:
            with open_live(InputSettings(parse_source(str(clip)))).container as container:
                chosen.append(str(container.streams.video[0].thread_type).rpartition(".")[2])
    assert chosen == ["FRAME", "SLICE", "SLICE", "SLICE"]


def test_no_torch_in_the_ingest_process() -> None:
    unwanted = "{'torch', 'pydantic', 'rich'}"
    code = f"import sys, streamsr.media.ingest_worker; sys.exit(' '.join({unwanted} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"it imports {done.stderr}"


class Clock:
    def __init__(self) -> None:
        self.now, self.pulses = 50.0, 0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def pulse(self) -> None:
        self.pulses += 1


def test_the_pace_is_that_of_the_timestamps() -> None:
    clock = Clock()
    pace = Pace(clock.pulse, clock, clock.sleep)
    for number in range(26):
        pace.wait(7.0 + number * 0.04)
    assert clock.now == pytest.approx(51.0)
    pace.keep_near(8.3, 0.5)
    assert clock.now == pytest.approx(51.0)
    pace.keep_near(8.7, 0.5)
    assert clock.now == pytest.approx(51.2)
    pace.wait(11.2)  # a long gap is waited for, with signs of life
    assert clock.now == pytest.approx(54.2)
    assert clock.pulses > 3
    pace.wait(90.0)  # a jump is not
    pace.wait(90.5)
    assert clock.now == pytest.approx(54.7)
    clock.now += 3.0  # lost time is not made up for
    pace.wait(90.54)
    pace.wait(90.58)
    assert clock.now == pytest.approx(57.74)


def test_adts_headers_are_taken_off() -> None:
    assert adts.low_complexity(48000, 2) == bytes.fromhex("1190")
    assert adts.low_complexity(44100, 6) == bytes.fromhex("1230")
    assert adts.low_complexity(12345, 2) == adts.low_complexity(48000, 7) == b""
    header = bytes.fromhex("fff14c8001bffc")  # no checksum, low complexity, 48000, stereo, 13 bytes
    assert adts.bare(header + b"abcdef") == (b"abcdef", bytes.fromhex("1190"))
    assert adts.rate_and_channels(bytes.fromhex("1190")) == (48000, 2)
    for broken in (b"", header, header + b"abcde", b"\xff\xe1" + header[2:] + b"abcdef"):
        assert adts.bare(broken) is None


def test_the_watch_knows_each_phase() -> None:
    clock = Clock()
    watch = IngestWatch(2.0, 1.0, clock)
    clock.now += 29
    assert watch.trouble() is None
    clock.now += 2
    assert watch.trouble() == "the process did not start within 30 s"
    watch.started()
    clock.now += 4.9
    assert watch.trouble() is None
    clock.now += 0.2
    assert watch.trouble() == "no answer within 2 s"
    watch.reached()
    clock.now += 1.9
    watch.pictures()
    clock.now += 1.9
    watch.excused(1.0)
    clock.now += 1.0
    assert watch.trouble() is None
    clock.now += 0.2
    assert watch.trouble() == "no picture for 1 s"


@pytest.mark.parametrize(
    ("rate", "stated", "is_mad"),
    [(100, 25, False), (470, 25, False), (500, 25, True), (500, 240, False), (1000, 240, True), (500, None, True)],
)
def test_a_mad_rate_is_trouble(rate: int, stated: int | None, is_mad: bool) -> None:
    clock = Clock()
    watch = IngestWatch(2.0, 1.0, clock)
    watch.started()
    watch.reached()
    troubles = []
    for _ in range(12 * 5):
        clock.now += 0.1
        watch.pictures(rate // 10)
        troubles.append(watch.trouble(Fraction(stated) if stated else None))
    assert any(troubles) == is_mad
    assert not any(troubles[:49])
