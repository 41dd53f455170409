"""The output file appears whole or not at all, and never over something else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from streamsr.config import OutputConfig
from streamsr.errors import ConfigError, FrameMismatch, SinkError, SourceError
from streamsr.frames import Packet
from streamsr.media.sink import open_sink
from streamsr.media.target import TargetFile
from streamsr.media.verify import Expectation, verify
from tests.media import AudioTrack, make_clip
from tests.media_sink.feed import Feed, feed_of, times


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    return feed_of(make_clip(tmp_path / "source.mp4", frames=12, b_frames=2, audio=[AudioTrack()]))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_an_existing_file_is_not_touched(feed: Feed, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"precious")
    with pytest.raises(SinkError, match="exists"):
        feed.into(target)
    assert target.read_bytes() == b"precious"
    feed.into(target, overwrite=True)
    assert len(times(target, 0)) == 12
    assert names(tmp_path) == ["out.mp4", "source.mp4"]


def test_a_file_that_appears_meanwhile_is_not_touched(feed: Feed, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"

    def write() -> None:
        with open_sink(target, str(feed.path), feed.info, OutputConfig(), origin=Fraction(0)) as sink:
            sink.write(feed.moved(Fraction(0)), feed.template)
            target.write_bytes(b"precious")

    with pytest.raises(SinkError, match="exists"):
        write()
    assert target.read_bytes() == b"precious"
    assert names(tmp_path) == ["out.mp4", "source.mp4"]


def test_folders_are_made_and_leftovers_removed(feed: Feed, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    folder.mkdir(parents=True)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (folder / f".out.{dead.pid}.part.mkv").write_bytes(b"old")
    (folder / f".out.{os.getppid()}.part.mkv").write_bytes(b"another job")
    (folder / f".other.{dead.pid}.part.mkv").write_bytes(b"not ours")
    feed.into(folder / "out.mkv")
    assert names(folder) == [f".other.{dead.pid}.part.mkv", f".out.{os.getppid()}.part.mkv", "out.mkv"]
    feed.into(tmp_path / "made" / "too" / "out.mkv")


def test_wrong_targets(feed: Feed, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="input itself"):
        feed.into(feed.path, overwrite=True)
    link = tmp_path / "link.mp4"
    link.symlink_to(feed.path)
    with pytest.raises(ConfigError, match="input itself"):
        feed.into(link, overwrite=True)
    with pytest.raises(ConfigError, match=r"\.webm"):
        feed.into(tmp_path / "out.gif")
    with pytest.raises(ConfigError, match="webm"):
        feed.into(tmp_path / "out.webm")
    with pytest.raises(SinkError):
        feed.into(feed.path / "under" / "a_file.mkv")
    (tmp_path / "folder.mkv").mkdir()
    with pytest.raises(SinkError, match="folder"):
        feed.into(tmp_path / "folder.mkv")
    assert names(tmp_path) == ["folder.mkv", "link.mp4", "source.mp4"]


def test_very_long_names(feed: Feed, tmp_path: Path) -> None:
    target = tmp_path / ("ä" * 120 + ".mkv")
    feed.into(target)
    assert len(times(target, 0)) == 12


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), OSError("not the disk")])
@pytest.mark.parametrize("at", [0, 5, 11])
def test_a_failing_encoder_leaves_nothing(feed: Feed, tmp_path: Path, error: BaseException, at: int) -> None:
    def failing() -> Iterator[Packet]:
        for number, packet in enumerate(feed.packets):
            if number == at:
                raise error
            yield packet

    target = tmp_path / "out.mp4"
    with (
        pytest.raises(type(error)) as caught,
        open_sink(target, str(feed.path), feed.info, OutputConfig(), origin=Fraction(0)) as sink,
    ):
        sink.write(failing(), feed.template)
    assert caught.value is error
    assert names(tmp_path) == ["source.mp4"]


def test_no_pictures(feed: Feed, tmp_path: Path) -> None:
    feed.packets = []
    with pytest.raises(SourceError, match="no picture"):
        feed.into(tmp_path / "out.mp4")
    assert names(tmp_path) == ["source.mp4"]


def test_verify_finds_lost_and_moved_pictures(feed: Feed, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    feed.into(target)
    expected = Expectation(feed.packets[0].time_base)
    expected.pts.extend(packet.pts for packet in feed.packets)
    verdict = verify(target, expected)
    assert (verdict.pictures, verdict.identical_stamps, verdict.shift_s) == (12, True, 0)
    expected.pts.append(expected.pts[-1] + 512)
    with pytest.raises(FrameMismatch, match="13 pictures were written, 12 are in the file"):
        verify(target, expected)
    del expected.pts[-2:]
    with pytest.raises(FrameMismatch, match="11 pictures"):
        verify(target, expected)
    expected.pts.append(feed.packets[-1].pts + 300)
    with pytest.raises(FrameMismatch, match="picture 11"):
        verify(target, expected)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to mount a tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_full_disk_is_one_clear_error(feed: Feed, tiny_disk: Path, suffix: str) -> None:
    feed.packets = [replace(packet, data=packet.data + bytes(3 << 20)) for packet in feed.packets]
    with pytest.raises(SinkError, match="no space left"):
        feed.into(tiny_disk / f"out{suffix}")
    assert names(tiny_disk) == []
    (tiny_disk / "filler").write_bytes(bytes(8 << 20))
    with pytest.raises(SinkError, match="no space left"):
        feed.into(tiny_disk / f"out{suffix}")
    (tiny_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(SinkError, match="may not write"):
        TargetFile(tiny_disk / "a.mkv", "", overwrite=False)


def test_a_killed_writer_leaves_only_a_hidden_file(feed: Feed, tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from fractions import Fraction\nfrom pathlib import Path\n"
        "from streamsr.config import OutputConfig\nfrom streamsr.media.sink import open_sink\n"
        "from tests.media_sink.feed import feed_of\n"
        "feed = feed_of(Path(sys.argv[1]))\n"
        "def slow():\n    yield from feed.packets[:6]\n    print('half', flush=True)\n    time.sleep(60)\n"
        "with open_sink(Path(sys.argv[2]), sys.argv[1], feed.info, OutputConfig(), origin=Fraction(0)) as sink:\n"
        "    sink.write(slow(), feed.template)\n"
    )
    target = tmp_path / "out.mp4"
    command = [sys.executable, "-c", program, str(feed.path), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half\n"
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    assert names(tmp_path) == [f".out.{child.pid}.part.mp4", "source.mp4"]
    feed.into(target)
    assert names(tmp_path) == ["out.mp4", "source.mp4"]
