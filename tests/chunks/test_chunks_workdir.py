"""The work dir: one job, one owner, and only parts that are what was written."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamsr.chunks import identity
from streamsr.chunks.identity import SourceHash
from streamsr.chunks.journal import read_journal
from streamsr.chunks.workdir import WorkDir, known_sources, open_workdir
from streamsr.errors import ConfigError, SinkError

IDENTITY = {"source": {"size": 12, "sha256": "ab"}, "settings": {"upscale.scale": 2.0}, "versions": {"av": "18.1.0"}}
SOURCE = SourceHash(12, 34, 56, "ab")


class Job:
    """A job on the folder, and what it was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[str] = []

    def open(self, resume: bool | None = None, job: dict[str, Any] | None = None) -> WorkDir:
        self.told.clear()
        return open_workdir(self.folder, job or IDENTITY, resume, source=SOURCE, notice=self.told.append)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "deep" / "work")


def put(work: WorkDir, index: int, attempt: int = 1, content: bytes = b"") -> Path:
    path = work.part_path(index, attempt)
    content = content or b"part %d" % index
    path.write_bytes(content)
    facts = {"num_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "frames": 24}
    work.mark_done(index, path, facts, {"seconds": {"total": 1.5}})
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_job_goes_on_where_it_was_left(job: Job) -> None:
    with job.open() as work:
        assert not work.is_resumed
        first, third = put(work, 0), put(work, 2, attempt=3)
        work.mark_done(1, None, {})
        work.note("plan", chunks=4)
        assert set(work.done) == {0, 1, 2}
    with job.open() as work:
        assert work.is_resumed
        assert {index: entry.path for index, entry in work.done.items()} == {0: first, 1: None, 2: third}
        assert work.done[2].facts["frames"] == 24
        assert work.done[2].extra == {"seconds": {"total": 1.5}}
        assert [note["chunks"] for note in work.notes("plan")] == [4]
        assert [note["run"] for note in work.notes("opened")] == [1, 2]
        assert work.part_path(2, 3) != third, "what a late worker of the first run writes is not in the way"
    assert job.told == [f"resuming: 3 finished chunks are in {job.folder}"]
    with job.open(resume=True) as work:
        assert len(work.done) == 3


def test_the_last_word_on_a_chunk_counts(job: Job) -> None:
    with job.open() as work:
        put(work, 0, attempt=1)
        second = put(work, 0, attempt=2, content=b"better")
    with job.open() as work:
        assert work.done[0].path == second
        assert sum(name.startswith("chunk") for name in names(job.folder)) == 1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"part"), "has 4 bytes, not 6"),
        (lambda path: path.write_bytes(b"pXrt 1"), "has other bytes than were written"),
        (lambda path: (path.unlink(), path.mkdir()), "has "),
    ],
)
def test_a_part_that_is_not_what_was_written_is_made_again(job: Job, damage: Callable[[Path], Any], words: str) -> None:
    with job.open() as work:
        put(work, 0)
        path = put(work, 1)
    damage(path)
    if path.is_dir():
        with pytest.raises(SinkError), job.open():
            pass
        path.rmdir()
    with job.open() as work:
        assert set(work.done) == {0}
        assert not path.exists()
        put(work, 1)
    if words != "has ":
        assert job.told[0].startswith(f"chunk 1 is made again: its part {path.name} {words}")
    with job.open() as work:
        assert set(work.done) == {0, 1}


def test_leftovers_of_killed_attempts_go_and_other_things_stay(job: Job) -> None:
    with job.open() as work:
        put(work, 0)
        work.part_path(1, 1).write_bytes(b"never marked done")
    ours = [".chunk-000001.r1a1.part.0a1b2c3d.tmp", "chunk-000009.r7a1.part"]
    theirs = ["notes.txt", "chunk-1.part", ".chunk-000001.tmp", "film.mp4"]
    for name in (*ours, *theirs):
        (job.folder / name).write_bytes(b"x")
    with job.open() as work:
        assert set(work.done) == {0}
        assert names(job.folder) == {"lock", "journal.jsonl", "chunk-000000.r1a1.part", *theirs}
        work.remove()
    assert names(job.folder) == set(theirs)


def test_after_success_nothing_is_left(job: Job) -> None:
    with job.open() as work:
        put(work, 0)
        work.remove()
    assert not job.folder.exists()
    assert job.folder.parent.is_dir()


def test_another_job_is_refused_by_name_of_the_difference(job: Job) -> None:
    with job.open() as work:
        part = put(work, 0)
    before = (job.folder / "journal.jsonl").read_bytes()
    other = IDENTITY | {"settings": {"upscale.scale": 4.0}}
    for resume in (None, True):
        with pytest.raises(ConfigError) as caught, job.open(resume, other):
            pass
        assert str(caught.value) == (
            "the work dir is that of another job: settings.upscale.scale was 2.0 and is 4.0"
            f" ({job.folder}). Use --fresh to throw that work away, or name another --work-dir."
        )
    many = {"source": {"size": 12, "sha256": "cd"}, "extra": {"new": 1}}
    with pytest.raises(ConfigError, match=r"source.sha256 was 'ab' and is 'cd', and 3 more"), job.open(None, many):
        pass
    with pytest.raises(ConfigError, match=r"versions.av was 'b' and is not there"):
        identity.refuse_other({"versions": {"av": "b"}}, {"versions": {}}, job.folder)
    assert part.exists()
    assert (job.folder / "journal.jsonl").read_bytes() == before
    with job.open(False, other) as work:
        assert not work.done
    assert not part.exists()
    assert job.told == [f"starting anew: 1 finished parts of earlier work were removed from {job.folder}"]


def test_fresh_and_resume_on_nothing(job: Job) -> None:
    with pytest.raises(ConfigError, match="there is nothing to resume"), job.open(resume=True):
        pass
    assert not job.folder.parent.exists()
    job.folder.mkdir(parents=True)
    with pytest.raises(ConfigError, match="there is nothing to resume"), job.open(resume=True):
        pass
    assert names(job.folder) == set()
    with job.open(resume=False):
        assert job.told == []


@pytest.mark.parametrize("resume", [None, False])
@pytest.mark.parametrize(
    "strange",
    [
        {"film.mp4": b"film"},
        {"chunk-000001.r1a1.part": b"x"},
        {"journal.jsonl": b"dear diary\n", "lock": b""},
        {"journal.jsonl": b"", "letter": b""},
        {"lock": b"", "key": b""},
    ],
)
def test_a_folder_of_somebody_else_is_never_touched(job: Job, resume: bool | None, strange: dict[str, bytes]) -> None:
    job.folder.mkdir(parents=True)
    for name, content in strange.items():
        (job.folder / name).write_bytes(content)
    with pytest.raises(ConfigError, match=r"not the work dir of a job .*is left as it is"), job.open(resume):
        pass
    assert {path.name: path.read_bytes() for path in job.folder.iterdir()} == strange


def test_a_file_in_the_place_of_the_folder(job: Job) -> None:
    job.folder.parent.mkdir()
    job.folder.write_bytes(b"x")
    with pytest.raises(ConfigError, match="not a folder"), job.open():
        pass
    assert job.folder.read_bytes() == b"x"


@pytest.mark.parametrize("torn", [b"", b'{"crc', b'{"crc32":"00000000","record":{"ki'])
def test_a_job_killed_before_its_first_word_starts_again(job: Job, torn: bytes) -> None:
    job.folder.mkdir(parents=True)
    (job.folder / "lock").write_bytes(b"process 1\n")
    (job.folder / "journal.jsonl").write_bytes(torn)
    with job.open() as work:
        assert not work.is_resumed
        put(work, 0)
    assert read_journal(job.folder / "journal.jsonl")[0]["identity"] == IDENTITY


def test_a_damaged_journal_is_refused_and_may_be_thrown_away(job: Job) -> None:
    with job.open() as work:
        put(work, 0)
    journal = job.folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"opened"', b'"closed"'))
    with pytest.raises(SinkError, match=r"line 2 of the journal is damaged .*--fresh"), job.open():
        pass
    assert known_sources(job.folder) == []
    with job.open(resume=False) as work:
        assert not work.done


def test_two_jobs_in_one_folder(job: Job) -> None:
    with job.open() as work:
        part = put(work, 0)
        for resume in (None, False, True):
            with pytest.raises(ConfigError, match=rf"process {os.getpid()} on \S+ works in this folder"):
                open_workdir(job.folder, IDENTITY, resume, notice=print)
        assert part.exists()
    with job.open() as work:
        work.remove()


HOLDER = """
import sys, time
from pathlib import Path
from streamsr.chunks.workdir import open_workdir
with open_workdir(Path(sys.argv[1]), {"a": {"b": 1}}, notice=lambda text: None) as work:
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free(job: Job) -> None:
    program = [sys.executable, "-c", HOLDER, str(job.folder)]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match=f"process {child.pid} on"), job.open(None, {"a": {"b": 1}}):
            pass
        child.send_signal(signal.SIGKILL)
    with job.open(None, {"a": {"b": 1}}) as work:
        assert work.is_resumed


def test_a_lock_file_removed_under_our_hands_is_no_lock(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening the file and locking it, the owner finished and removed the folder's lock."""
    flock = fcntl.flock
    calls: list[int] = []

    def late(handle: int, flags: int) -> None:
        if not calls:
            (job.folder / "lock").unlink()
        calls.append(handle)
        flock(handle, flags)

    job.folder.mkdir(parents=True)
    monkeypatch.setattr(fcntl, "flock", late)
    with job.open(), pytest.raises(ConfigError, match="works in this folder"):
        job.open()
    assert len(calls) == 3


def test_a_full_disk_keeps_what_is_done(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with job.open() as work:
        put(work, 0)
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
            with pytest.raises(SinkError, match="no space left on the device"):
                put(work, 1)
        assert set(work.done) == {0}
    with job.open() as work:
        assert set(work.done) == {0}
