"""Part files: all or nothing, exact, and joined in little memory whatever their number."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from streamsr.errors import EncoderCrashed, FrameMismatch, SinkError
from streamsr.frames import Packet
from streamsr.media.join import joined
from streamsr.media.part_file import PartReader
from streamsr.media.parts import PartFacts, check_part, template_of, write_part
from tests.media import make_clip
from tests.media_sink.feed import Feed, feed_of


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Feed:
    """24 pictures with B-frames, two groups of them."""
    return feed_of(make_clip(tmp_path_factory.mktemp("clip") / "source.mp4", frames=24, b_frames=2, gop=12))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, feed: Feed) -> PartFacts:
    return write_part(path, iter(feed.packets), feed.template)


def test_facts_say_what_is_there(feed: Feed, tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    facts = write(path, feed)
    assert names(tmp_path) == ["a.part"]
    assert facts.frames == 24
    assert facts.num_bytes == path.stat().st_size
    assert facts.first_pts == feed.packets[0].pts
    last = max(feed.packets, key=lambda packet: packet.pts)
    assert facts.end_pts == last.pts + last.duration
    assert PartFacts.from_json(facts.as_json()) == facts
    check_part(path, facts, decode=True)
    assert write(tmp_path / "b.part", feed) == facts, "equal packets make equal files"


def test_the_file_opens_with_any_archiver(feed: Feed, tmp_path: Path) -> None:
    write(tmp_path / "a.part", feed)
    with zipfile.ZipFile(tmp_path / "a.part") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["part.json", "template", "packets", "index.npy"]
        assert archive.read("packets") == b"".join(packet.data for packet in feed.packets)
        assert archive.read("template") == feed.template() == template_of(tmp_path / "a.part")


def test_times_of_any_size_and_empty_packets(feed: Feed, tmp_path: Path) -> None:
    big = 1 << 61
    first, *_ = feed.packets
    packets = [
        replace(first, pts=-big, duration=0, time_base=Fraction(1001, 30000)),
        replace(first, pts=big, data=b"", is_keyframe=False, time_base=Fraction(1001, 30000)),
        replace(first, pts=5, duration=big, is_keyframe=False, time_base=Fraction(1001, 30000)),
    ]
    facts = write_part(tmp_path / "a.part", iter(packets), feed.template)
    assert (facts.first_pts, facts.end_pts) == (-big, big + first.duration)
    found = list(joined([tmp_path / "a.part"]))
    assert [(p.data, p.pts, p.duration, p.time_base, p.is_keyframe) for p in found] == [
        (p.data, p.pts, p.duration, p.time_base, p.is_keyframe) for p in packets
    ]


@pytest.mark.parametrize("at", [0, 1, 23])
@pytest.mark.parametrize("error", [EncoderCrashed("gone"), OSError(errno.ENOSPC, "not ours"), KeyboardInterrupt()])
def test_a_failing_encoder_leaves_nothing(feed: Feed, tmp_path: Path, error: BaseException, at: int) -> None:
    def failing() -> Iterator[Packet]:
        yield from feed.packets[:at]
        raise error

    with pytest.raises(type(error)) as caught:
        write_part(tmp_path / "a.part", failing(), feed.template)
    assert caught.value is error, "an error of the packets is passed on as it is"
    assert names(tmp_path) == []


def test_what_is_no_part(feed: Feed, tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    with pytest.raises(FrameMismatch, match="no packet"):
        write_part(path, iter([]), feed.template)
    with pytest.raises(FrameMismatch, match="not its first key frame"):
        write_part(path, iter(feed.packets[1:]), feed.template)
    early = replace(feed.packets[1], pts=feed.packets[0].pts - 1)
    with pytest.raises(FrameMismatch, match="not its first key frame"):
        write_part(path, iter([feed.packets[0], early]), feed.template)
    other = replace(feed.packets[1], time_base=Fraction(1, 7))
    with pytest.raises(FrameMismatch, match="time base changes from 1/12288 to 1/7"):
        write_part(path, iter([feed.packets[0], other]), feed.template)
    with pytest.raises(SinkError, match="a part has no stream"):
        write_part(path, iter(feed.packets), lambda: b"no container")
    assert names(tmp_path) == []


def test_an_older_part_stays_until_the_new_one_is_whole(feed: Feed, tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    facts = write_part(path, iter(feed.packets[:1]), feed.template)
    with pytest.raises(FrameMismatch):
        write_part(path, iter([feed.packets[0], feed.packets[0], replace(feed.packets[1], pts=-9)]), feed.template)
    check_part(path, facts)
    assert write(path, feed) != facts


def test_a_killed_writer_leaves_no_part(feed: Feed, tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from streamsr.media.parts import write_part\nfrom tests.media_sink.feed import feed_of\n"
        "feed = feed_of(Path(sys.argv[1]))\n"
        "def slow():\n    yield from feed.packets[:6]\n    print('half', flush=True)\n    time.sleep(60)\n"
        "write_part(Path(sys.argv[2]), slow(), feed.template)\n"
    )
    command = [sys.executable, "-c", program, str(feed.path), str(tmp_path / "a.part")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half\n"
        child.send_signal(signal.SIGKILL)
    (left,) = names(tmp_path)
    assert left.startswith(".a.part.")
    assert left.endswith(".tmp")


@pytest.mark.parametrize("refuse_at", range(1, 8))
def test_a_full_disk_at_any_moment(feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse_at: int) -> None:
    """Every call that may find the disk full: writes of the file, its fsync, the rename."""
    calls = 0

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= refuse_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **options)

        return call

    monkeypatch.setattr(zipfile.ZipFile, "writestr", refusing(zipfile.ZipFile.writestr))
    monkeypatch.setattr(os, "fsync", refusing(os.fsync))
    monkeypatch.setattr(os, "replace", refusing(os.replace))
    if refuse_at >= 6:  # the last is the fsync of the folder, which not every file system can
        assert write(tmp_path / "a.part", feed).frames == 24
        assert calls == 6
    else:
        with pytest.raises(SinkError, match="no space left on the device"):
            write(tmp_path / "a.part", feed)
        assert names(tmp_path) == []


def test_the_kernel_refuses_at_any_byte(feed: Feed, tmp_path: Path) -> None:
    """The largest size of a file is limited, in a process of its own; no write is buffered past the end."""
    num_bytes = write(tmp_path / "whole.part", feed).num_bytes
    program = (
        "import os, resource, signal, sys\nfrom pathlib import Path\n"
        "from streamsr.errors import SinkError\nfrom streamsr.media.parts import write_part\n"
        "from tests.media_sink.feed import feed_of\n"
        "feed, folder = feed_of(Path(sys.argv[1])), Path(sys.argv[2])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "template = feed.template()\n"
        "for limit in range(0, int(sys.argv[3]), 97):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    try: write_part(folder / 'a.part', iter(feed.packets), lambda: template)\n"
        "    except SinkError as error: assert 'cannot write: File too large' in str(error), error\n"
        "    else: raise AssertionError(limit)\n"
        "    assert os.listdir(folder) == ['whole.part'], limit\n"
        # For whatever else is written at the end of the process, as coverage does.
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(feed.path), str(tmp_path), str(num_bytes)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_really_full_disk(feed: Feed, tmp_path: Path) -> None:
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tiny)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to mount a tmpfs")
    try:
        large = [replace(packet, data=packet.data + bytes(100_000)) for packet in feed.packets]
        for packets in (large, large[:10]):
            with pytest.raises(SinkError, match=r"no space left on the device .*Free some space"):
                write_part(tiny / "a.part", iter(packets + large), feed.template)
            assert names(tiny) == []
        write_part(tiny / "a.part", iter(large[:5]), feed.template)
    finally:
        subprocess.run(["umount", str(tiny)], check=True)


def test_damage_anywhere_is_noticed(feed: Feed, tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    facts = write(path, feed)
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with pytest.raises(SinkError, match=r"a part is damaged: .*a\.part.*made anew"):
            check_part(path, facts)
        path.write_bytes(whole[:place])
        with pytest.raises(SinkError, match="a part is damaged"):
            check_part(path, facts)
        with pytest.raises(SinkError, match="a part is damaged"):
            list(joined([path]))
    path.unlink()
    with pytest.raises(SinkError, match="a part is damaged: No such file"):
        check_part(path, facts)


def test_damaged_pictures_are_noticed_while_joining(feed: Feed, tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    write(path, feed)
    content = bytearray(path.read_bytes())
    content[content.index(feed.packets[3].data) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(SinkError, match="Bad CRC"):
        list(joined([path]))


def test_facts_of_another_part_are_refused(feed: Feed, tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    facts = write(path, feed)
    for wrong in ({"frames": 23}, {"end_pts": 0}, {"time_base": Fraction(1, 7)}, {"parameters": "x"}, {"sha256": "x"}):
        with pytest.raises(SinkError, match="a part is damaged"):
            check_part(path, replace(facts, **wrong))


def test_pictures_that_do_not_decode_are_noticed(feed: Feed, tmp_path: Path) -> None:
    path, third = tmp_path / "a.part", feed.packets[3]
    for packets, words in (
        ([*feed.packets[:12], replace(feed.packets[12], data=bytes(40)), *feed.packets[13:]], "cannot be decoded"),
        ([replace(feed.packets[0], data=bytes(40))], "cannot be decoded"),
        (
            [*feed.packets[:3], replace(third, data=third.data[:20].ljust(len(third.data), b"\0")), *feed.packets[4:]],
            "damaged",
        ),
    ):
        facts = write_part(path, iter(packets), feed.template)
        check_part(path, facts)
        with pytest.raises(FrameMismatch, match=words):
            check_part(path, facts, decode=True)


def test_the_reader_closes_what_it_cannot_use(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("part.json", '{"version": 9, "time_base": "1/25"}')
    with pytest.raises(SinkError, match="version 9 is not 1"):
        PartReader(path)
    path.rename(tmp_path / "b.part")
