"""The journal: what is in it survives anything, and what is not whole is not believed."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsr.chunks.journal import LINE_BEGIN, VERSION, Journal, parse, read_journal, write_error
from streamsr.errors import ConfigError, SinkError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)


def written(folder: Path, count: int = 3) -> Path:
    """A journal with a header and `count` - 1 more records."""
    path = folder / "journal.jsonl"
    journal = Journal(path)
    journal.append_header(identity={"a": 1})
    for number in range(1, count):
        journal.append("done", chunk=number, text="caf\u00e9\n\r\u2028")
    journal.close()
    return path


def test_records_come_back_in_order(tmp_path: Path) -> None:
    path = written(tmp_path)
    records = read_journal(path)
    assert [(record["n"], record["kind"]) for record in records] == [(0, "streamsr-journal"), (1, "done"), (2, "done")]
    assert records[0]["identity"] == {"a": 1}
    assert records[2]["text"] == "caf\u00e9\n\r\u2028"
    journal = Journal(path)
    assert journal.records == records
    assert journal.append("more")["n"] == 3
    journal.close()
    journal.close()
    assert len(read_journal(path)) == 4


def test_every_line_is_json_and_begins_alike(tmp_path: Path) -> None:
    lines = written(tmp_path).read_bytes().splitlines()
    assert len(lines) == 3
    assert all(line.startswith(LINE_BEGIN) and line.isascii() for line in lines)
    assert json.loads(lines[0])["record"]["version"] == VERSION


@given(values=st.dictionaries(st.text(), PLAIN, max_size=4))
def test_any_plain_values_survive(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    journal = Journal(path)
    journal.append_header()
    told = journal.append("note", values=values)
    journal.close()
    assert read_journal(path)[1] == told == {"n": 1, "kind": "note", "values": values}


def test_a_last_line_torn_anywhere_is_dropped(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    begin = whole.rindex(b"\n", 0, -1) + 1
    for end in range(begin, len(whole)):
        path.write_bytes(whole[:end])
        assert len(read_journal(path)) == 2, end
        journal = Journal(path)
        journal.append("again")
        journal.close()
        assert [record["kind"] for record in read_journal(path)][1:] == ["done", "again"]


@pytest.mark.parametrize("place", range(0, 100, 7))
def test_a_garbled_last_line_is_dropped(tmp_path: Path, place: int) -> None:
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    begin = content.rindex(b"\n", 0, -1) + 1
    content[begin + place % (len(content) - begin - 1)] ^= 1
    path.write_bytes(content)
    assert len(read_journal(path)) == 2


def test_blanks_of_a_power_cut_are_dropped(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert len(read_journal(path)) == 3


@pytest.mark.parametrize("line", [1, 2])
def test_a_bad_line_before_the_last_is_refused(tmp_path: Path, line: int) -> None:
    path = written(tmp_path, count=5)
    lines = path.read_bytes().splitlines(keepends=True)
    for damage in (lines[line].replace(b"done", b"gone"), b"", lines[line] * 2):
        path.write_bytes(b"".join(lines[:line]) + damage + b"".join(lines[line + 1 :]))
        before = path.read_bytes()
        with pytest.raises(SinkError, match=r"line \d of the journal is damaged .*--fresh"):
            Journal(path)
        assert path.read_bytes() == before, "evidence is left as it is"


def test_another_file_or_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_text("one\ntwo\n")
    with pytest.raises(ConfigError, match="not a journal of ours"):
        Journal(path)
    assert path.read_text() == "one\ntwo\n"
    journal = Journal(tmp_path / "k")
    journal.append("streamsr-journal", version=99)
    journal.close()
    with pytest.raises(ConfigError, match="version 99, not 1"):
        read_journal(tmp_path / "k")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none") == []
    with pytest.raises(SinkError, match="cannot be read"):
        read_journal(tmp_path)
    with pytest.raises(SinkError, match="No such file"):
        Journal(tmp_path / "no" / "folder")


def test_each_record_is_on_the_disk_before_the_job_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    fsync = os.fsync

    def noting(handle: int) -> None:
        sizes.append(os.fstat(handle).st_size)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noting)
    journal = Journal(tmp_path / "j")
    journal.append_header()
    journal.append("done")
    journal.close()
    assert sizes[-1] == (tmp_path / "j").stat().st_size
    assert len(sizes) == 3, "header, its folder, record"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_a_journal_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    journal = Journal(tmp_path / "j")
    journal.append_header()
    pwrite = os.pwrite

    def full(handle: int, data: memoryview, offset: int) -> int:
        if len(data) > 10:
            return pwrite(handle, data[: len(data) - 10], offset)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(SinkError, match=r"no space left on the device .*Free some space"):
        journal.append("done", chunk=1)
    monkeypatch.undo()
    assert len(journal.records) == 1
    journal.append("done", chunk=2)
    journal.close()
    assert [record.get("chunk") for record in read_journal(tmp_path / "j")] == [None, 2]


def test_the_words_for_other_failures(tmp_path: Path) -> None:
    error = write_error(OSError(errno.EIO, "Input/output error"), tmp_path / "x")
    assert str(error) == f"cannot write: Input/output error ({tmp_path / 'x'}). Choose another --work-dir."


def test_threads_take_turns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append_header()
    threads = [
        threading.Thread(target=lambda: [journal.append("note", by=threading.get_ident()) for _ in range(10)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    journal.close()
    assert [record["n"] for record in read_journal(tmp_path / "j")] == list(range(41))


def test_nan_and_objects_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append_header()
    for value, error in ((float("nan"), ValueError), (object(), TypeError)):
        with pytest.raises(error):
            journal.append("note", value=value)
    journal.append("note", value=1)
    journal.close()
    assert len(read_journal(tmp_path / "j")) == 2


WRITER = """
import sys
from pathlib import Path
from streamsr.chunks.journal import Journal
journal = Journal(Path(sys.argv[1]))
if not journal.records:
    journal.append_header()
while True:
    number = journal.append("done", text="x" * 3000)["n"]
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_a_killed_writer_loses_at_most_what_it_never_told(tmp_path: Path) -> None:
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "j")], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            told = [int(child.stdout.readline()) for _ in range(20)]
            child.send_signal(signal.SIGKILL)
            told += [int(line) for line in child.stdout.read().split(b"\n")[:-1] if line]
        assert len(read_journal(tmp_path / "j")) >= told[-1] + 1


def test_a_limit_of_the_system_reads_as_a_failure_to_write(tmp_path: Path) -> None:
    """A real refusal by the kernel: the largest size of a file, in a process of its own."""
    program = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom streamsr.chunks.journal import Journal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))\n"
        "journal = Journal(Path(sys.argv[1])); journal.append_header()\n"
        "for number in range(100): journal.append('done', text='x' * 100)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 2000
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "j")], capture_output=True, text=True, timeout=60, check=False
    )
    assert "SinkError: cannot write: File too large" in done.stderr
    records, end = parse((tmp_path / "j").read_bytes(), tmp_path / "j")
    assert end == (tmp_path / "j").stat().st_size, "no torn line is left behind"
    assert len(records) > 5
