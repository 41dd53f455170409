"""The verbs as users run them: in a process, on real files."""

from __future__ import annotations

import functools
import json
import shutil
import signal
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines.doctor import Checkup, examine
from pipelines.machine import CGROUP, usable_cores
from pipelines.models import COLUMNS, all_models, model_facts, pull_model
from streamsr.config import load_config
from streamsr.errors import WeightsError
from streamsr.media.trials import try_all, try_one
from streamsr.models.catalog import CATALOG

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "samples" / "parade.mp4"


def streamsr(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "run_stream.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(scope="module")
def checkup() -> Checkup:
    return examine(load_config())


def test_doctor_finds_what_every_build_has(checkup: Checkup) -> None:
    assert {name for name, reason in checkup.encoders.items() if reason is None} >= {
        "libx264",
        "libx265",
        "libsvtav1",
        "libvpx-vp9",
        "prores_ks",
        "ffv1",
    }
    assert [name for name in ("h264", "hevc", "av1", "vp9", "mpeg2video", "prores") if checkup.decoders[name]] == []
    assert all(reason is None or (reason and "\n" not in reason) for reason in checkup.encoders.values())
    assert checkup.choices.keys() == {"device", "model", "decoder", "encoder"}
    assert checkup.models.keys() == {entry.name for entry in CATALOG}
    assert checkup.can_work, checkup.problems
    assert bool(checkup.gpus) != bool(checkup.no_gpu)


def test_doctor_shows_all_it_knows_and_json_holds_it(checkup: Checkup) -> None:
    shown = " ".join(" ".join(row) for _, rows in checkup.sections() for row in rows)
    for name in (*checkup.encoders, *checkup.decoders, *checkup.models, *checkup.versions, *checkup.machine):
        assert name in shown
    told = json.loads(json.dumps(checkup.as_dict()))
    assert told["can_work"] is True
    assert told["encoders"]["libx264"] is None


def test_doctor_fails_when_no_job_could_run() -> None:
    done = streamsr("doctor", "--json", "--set", "upscale.model=frobnicate", "--set", "upscale.device=cuda:99")
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told["can_work"] is False
    assert [problem.partition(":")[0] for problem in told["problems"]] == ["device", "model"]
    assert "no model is called 'frobnicate'" in told["choices"]["model"]
    assert done.stderr == ""


def test_a_trial_that_kills_its_process_is_a_finding() -> None:
    found = try_all(["encode libx264", "encode nothing_like_it", "decode h264"])
    assert found == {
        "encode libx264": None,
        "encode nothing_like_it": "not in this build of FFmpeg",
        "decode h264": None,
    }
    # An unknown decoder is a mistake of ours: its process ends with a traceback, the next trial still has its turn.
    found = try_all(["decode frobnicate", "encode ffv1"])
    assert found["encode ffv1"] is None
    assert "crashed the process" in (found["decode frobnicate"] or "")
    assert try_one("encode ffv1") is None


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_cores_of_a_container(tmp_path: Path, files: dict[str, str], cores: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    everything = usable_cores(tmp_path / "no such group")
    assert usable_cores(tmp_path) == min(everything, cores or everything)
    assert usable_cores(CGROUP) <= everything


def test_models_are_listed_with_where_they_lie() -> None:
    rows = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in all_models()}
    assert rows.keys() == {entry.name for entry in CATALOG}
    assert rows["lite"]["at hand"].endswith("lite.safetensors")
    assert rows["x4plus"]["licence"] == "BSD-3-Clause"
    done = streamsr("models", "list", "--json")
    assert [row["name"] for row in json.loads(done.stdout)] == [entry.name for entry in CATALOG]
    shown = streamsr("models", "list")
    assert shown.returncode == 0
    assert all(entry.name in shown.stdout and entry.summary in shown.stdout for entry in CATALOG)


def test_a_checkpoint_is_described() -> None:
    facts = model_facts("lite")
    assert facts["scale"] == "4"
    assert facts["family"] == "srvgg"
    done = streamsr("models", "info", facts["path"])
    assert done.returncode == 0
    assert facts["sha256"] in done.stdout
    wrong = streamsr("models", "info", str(ROOT / "LICENSE"))
    assert (wrong.returncode, wrong.stderr.count("\n")) == (5, 1)


def test_what_is_embedded_needs_no_pull() -> None:
    done = streamsr("models", "pull", "lite")
    assert done.returncode == 0
    assert done.stdout.strip().endswith("lite.safetensors")
    with pytest.raises(WeightsError, match="Did you mean x4plus"):
        pull_model("x4pluss", lambda done, total: None)


def test_pull_fetches_from_a_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    entry = next(entry for entry in CATALOG if entry.sha256 is None and entry.url)
    (mirror / entry.file).write_bytes(b"weights" * 1000)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(mirror))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("STREAMSR_WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        done = streamsr("models", "pull", entry.name)
        missing = streamsr("models", "pull", "x2plus")
        server.shutdown()
        thread.join(10)
    assert done.returncode == 0, done.stderr
    fetched = Path(done.stdout.strip())
    assert fetched.is_relative_to(tmp_path / "cache")
    assert fetched.read_bytes() == b"weights" * 1000
    assert missing.returncode == 5
    assert missing.stderr.splitlines()[-1].startswith("error: cannot fetch the weights: the server answered 404")


def test_several_files_one_failing_one_finished(tmp_path: Path) -> None:
    season, out = tmp_path / "season", tmp_path / "out"
    season.mkdir()
    out.mkdir()
    shutil.copy(SAMPLE, season / "a.mp4")
    for name in ("b.mkv", "c.avi"):
        (season / name).write_bytes(b"this is not a video" * 100)
    (out / "b.mkv").write_bytes(b"finished earlier")
    report = tmp_path / "report.json"
    few = ("--start", "1", "--duration", "0.25", "--to", "320x180", "--report", str(report))
    done = streamsr("upscale", "--progress", "json", *few, str(season), str(out))
    events = [json.loads(line) for line in done.stdout.splitlines()]
    told = {kind: [event for event in events if event["event"] == kind] for kind in ("error", "done", "notice")}
    assert done.returncode == 7
    assert [(Path(event["file"]).name, event["exit_code"]) for event in told["error"]] == [("c.avi", 3)]
    assert [(Path(event["target"]).name, event["frames_in"], event["frames_out"]) for event in told["done"]] == [
        ("a.mp4", 6, 6)
    ]
    assert told["notice"][-1]["text"] == "1 upscaled, 1 skipped, 1 failed of 3 files"
    assert any("b.mkv: finished already, skipped" in event["text"] for event in told["notice"])
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error"]
    assert sorted(file.name for file in out.iterdir()) == ["a.mp4", "b.mkv"]
    assert (out / "b.mkv").read_bytes() == b"finished earlier"
    assert [facts["output"]["frames"] for facts in json.loads(report.read_text())] == [6]


def test_ctrl_c_ends_the_file_and_leaves_the_rest(tmp_path: Path) -> None:
    season, out = tmp_path / "season", tmp_path / "out"
    season.mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(SAMPLE, season / name)
    # Without lookahead the first packet comes after the first pictures.
    few = ("--duration", "2", "--to", "480x270", "--preset", "ultrafast", "--batch", "1", "--progress", "json")
    command = [sys.executable, str(ROOT / "run_stream.py"), "upscale", *few, str(season), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        for line in job.stdout:  # the deadline of the whole test bounds this
            if '"progress"' in line and json.loads(line)["frames"] > 0:
                break
        job.send_signal(signal.SIGINT)
        rest, errors = job.communicate(timeout=100)
    events = [json.loads(line) for line in rest.splitlines()]
    assert errors == ""
    assert job.returncode == 130
    assert [event["text"] for event in events[-2:]] == [
        "a.mp4 is not whole: kept as a.stopped.mp4",
        "stopped: 1 of 2 files were not begun",
    ]
    done = [event for event in events if event["event"] == "done"]
    assert [event["facts"]["timing"]["stopped_early"] for event in done] == [True]
    assert 0 < done[0]["frames_out"] < 48
    assert [file.name for file in out.iterdir()] == ["a.stopped.mp4"]


def test_one_file_failing_has_its_own_exit_code(tmp_path: Path) -> None:
    source = tmp_path / "a\n.mp4"
    source.write_bytes(b"this is not a video" * 100)
    done = streamsr("upscale", "--progress", "none", str(source), str(tmp_path / "out.mp4"))
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == [source.name]
