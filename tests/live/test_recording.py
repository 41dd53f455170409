"""Recordings: rotated at key frames without losing a picture, never overwritten, playable whoever was killed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from streamsr.live_frames import LiveAudio, LiveVideo
from streamsr.media.recording import Recording, new_file
from tests.live.packets import (
    FPS,
    Fat,
    Feed,
    endless,
    num_audio_packets,
    numbers_in,
    pictures,
    publishing,
    sound,
    wait_until,
)

ROOT = Path(__file__).resolve().parents[2]


def record(path: Path, seconds: float, rotate_s: float) -> Recording:
    recording = Recording(str(path), pictures()[0], sound()[0], rotate_s)
    recording.open()
    for out_s, packet in endless():
        if out_s >= seconds:
            return recording
        recording.write(packet)
    raise AssertionError("endless")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_files_follow_one_another_without_a_gap(tmp_path: Path, suffix: str) -> None:
    record(tmp_path / f"film.{suffix}", 5.0, 1.2).close()
    files = sorted(tmp_path.iterdir())
    assert [numbers_in(file) for file in files] == [
        [*range(0, 36)],
        [*range(36, 72)],
        [*range(72, 108)],
        [*range(108, 120)],
    ]
    for file, seconds in zip(files, (1.5, 1.5, 1.5, 0.5), strict=True):
        assert abs(num_audio_packets(file) - seconds * 48000 / 1024) < 3, file
        assert datetime.strptime(file.stem, "film-%Y%m%dT%H%M%S.%fZ").year >= 2020


def test_it_begins_with_the_first_key_frame(tmp_path: Path) -> None:
    recording = Recording(str(tmp_path / "film.mkv"), pictures()[0], sound()[0], 60)
    recording.open()
    taken = [recording.write(packet) for _, packet in zip(range(80), _from_the_middle(), strict=False)]
    recording.close()
    assert not taken[0]
    assert taken[-1]
    (file,) = tmp_path.iterdir()
    assert numbers_in(file)[0] == 12


def _from_the_middle() -> Iterator[LiveVideo | LiveAudio]:
    for _, packet in endless():
        if not (isinstance(packet, LiveVideo) and packet.pts < 5 * 90000 // FPS):
            yield packet


def test_names_are_of_utc_and_nothing_is_overwritten(tmp_path: Path) -> None:
    moment = datetime(2030, 1, 2, 3, 4, 5, 678_000, UTC)
    film = tmp_path / "film.mp4"
    names = [new_file(film, moment).name for _ in range(3)]
    assert names == [f"film-20300102T030405.678Z{again}.mp4" for again in ("", "-2", "-3")]
    (tmp_path / "elsewhere").write_text("keep")
    (tmp_path / "film-20300102T030406.000Z.mp4").symlink_to(tmp_path / "elsewhere")
    assert new_file(film, moment.replace(second=6, microsecond=0)).name == "film-20300102T030406.000Z-2.mp4"
    assert (tmp_path / "elsewhere").read_text() == "keep"


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_it_is_playable_after_its_process_was_killed_and_goes_on(tmp_path: Path, suffix: str) -> None:
    with publishing(f"record:{tmp_path / f'film.{suffix}'}") as (publisher,), Feed((publisher,)):
        wait_until(lambda: publisher.status().packets > 150, 20)
        (child,) = psutil.Process().children()
        child.kill()
        first = max(tmp_path.iterdir())
        wait_until(lambda: publisher.status().reconnects == 1, 10)
        assert "SIGKILL" in publisher.status().error
    numbers = numbers_in(first)
    assert numbers == [*range(len(numbers))]
    assert len(numbers) > 30
    second = numbers_in(max(tmp_path.iterdir()))
    # At most what lay in the dead process is lost; the second file begins with a key frame.
    assert second[0] % 12 == 0
    assert second[0] - numbers[-1] < 48


def test_it_is_playable_after_the_whole_program_was_killed(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import sys, time
        from tests.live.packets import *
        with publishing("record:{tmp_path}/film.mp4") as (publisher,), Feed((publisher,)):
            wait_until(lambda: publisher.status().packets > 200, 30)
            sys.stdout.write("recorded\\n"); sys.stdout.flush()
            time.sleep(60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"recorded\n"
            children = psutil.Process(process.pid).children()
        finally:
            os.kill(process.pid, signal.SIGKILL)
    assert len(children) == 1
    psutil.wait_procs(children, timeout=5)
    assert not children[0].is_running()
    (file,) = tmp_path.iterdir()
    numbers = numbers_in(file)
    assert len(numbers) > 50
    assert numbers == [*range(len(numbers))]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_that_recording_only(small_disk: Path, tmp_path: Path) -> None:
    targets = (f"record:{small_disk / 'film.mp4'}", f"record:{tmp_path / 'other.mkv'}")
    with publishing(*targets) as (full, other), Feed((Fat(full), other)):
        wait_until(lambda: "no space left" in full.status().error, 20)
        (film,) = [file for file in small_disk.iterdir() if file.stat().st_size]
        assert len(numbers_in(film)) > 5
        wait_until(lambda: other.status().state == "live", 20)
        film.unlink()
        wait_until(lambda: full.status().reconnects == 1, 20)
        assert other.status().reconnects == other.status().dropped == 0
        assert other.status().error == ""
    assert len([*small_disk.iterdir()]) < 8


def test_a_file_that_may_not_grow_is_an_error_like_a_full_disk(tmp_path: Path) -> None:
    with publishing(f"record:{tmp_path / 'film.ts'}") as (publisher,), Feed((Fat(publisher),)):
        wait_until(lambda: publisher.status().state == "live", 20)
        (child,) = psutil.Process().children()
        size = sum(file.stat().st_size for file in tmp_path.iterdir())
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (size + 2_000_000, size + 2_000_000))
        wait_until(lambda: "as large as it may be" in publisher.status().error, 20)
        wait_until(lambda: publisher.status().reconnects == 1, 20)
