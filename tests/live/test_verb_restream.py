"""The verb: what it hands on, what it says to mistakes, what others see of it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import run_stream
from pipelines.live_options import RESTREAM
from streamsr.config import config_keys
from streamsr.errors import SourceError
from streamsr.live_config import NamedStream, RestreamConfig, StatusConfig, StreamConfig

ROOT = Path(run_stream.__file__).parent


class Runner(ModuleType):
    """Stands in for pipelines.restream: keeps what it was called with."""

    streams: tuple[NamedStream, ...] = ()
    status: StatusConfig = StatusConfig()
    reload: Callable[[], tuple[NamedStream, ...]] | None = None
    failure: Exception | None = None

    def restream(self, streams: Any, status: Any, reload: Any, watcher: Any) -> Exception | None:
        self.streams, self.status, self.reload = streams, status, reload
        watcher.notice("it runs")
        return self.failure


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    module = Runner("pipelines.restream")
    monkeypatch.setitem(sys.modules, "pipelines.restream", module)
    monkeypatch.setattr("streamsr.live.own_arguments.hide_arguments", lambda shown: None)
    return module


def settings(runner: Runner, words: str) -> RestreamConfig:
    """All keys as `restream` with these words has them."""
    assert run_stream.main(["restream", *words.split(), "camera:0", "udp://h:1"]) == 0
    sections = {name: getattr(runner.streams[0].settings, name) for name in StreamConfig.model_fields}
    return RestreamConfig(**sections, status=runner.status)


def test_no_option_is_the_default(runner: Runner) -> None:
    assert settings(runner, "") == RestreamConfig()
    (stream,) = runner.streams
    assert (stream.name, stream.source, stream.targets, runner.reload) == ("stream", "camera:0", ("udp://h:1",), None)


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("-n lite", "upscale.model", "lite"),
        ("--to 1440p", "upscale.to", "1440p"),
        ("--scale 2", "upscale.scale", 2.0),
        ("--transport udp", "ingest.transport", "udp"),
        ("--stall 7s", "ingest.stall_s", 7.0),
        ("--retry 5", "ingest.retry", "5"),
        ("--loop", "ingest.loop", True),
        ("--slate gone", "policy.slate", "gone"),
        ("--drop wait", "policy.drop", "wait"),
        ("--stale 0.2", "policy.stale_s", 0.2),
        ("--adapt", "policy.adapt", True),
        ("--codec hevc", "encode.codec", "hevc"),
        ("--encoder libx264", "encode.encoder", "libx264"),
        ("--bitrate 8M", "encode.bitrate", "8M"),
        ("--gop 1s", "encode.gop_s", 1.0),
        ("--audio none", "publish.audio", "none"),
        ("--listen none", "publish.listen", "none"),
        ("--segment 0.5", "publish.segment_s", 0.5),
        ("--rotate 1:00:00", "publish.rotate_s", 3600.0),
        ("-g 0,1", "upscale.device", "cuda:0,1"),
        ("--precision fp32", "upscale.precision", "fp32"),
        ("--interval 2", "status.interval_s", 2.0),
        ("--status-file s.json", "status.file", "s.json"),
        ("--status-listen :9180", "status.listen", ":9180"),
        ("--set encode.preset=slow", "encode.preset", "slow"),
        ("--config low-latency", "policy.stale_s", 0.2),
    ],
)
def test_each_option_sets_its_key_and_no_other(runner: Runner, words: str, key: str, value: object) -> None:
    section, name = key.split(".")
    changed, default = settings(runner, words), RestreamConfig()
    assert getattr(getattr(changed, section), name) == value
    if "--config" not in words and value != getattr(getattr(default, section), name):
        reset = getattr(changed, section).model_copy(update={name: getattr(getattr(default, section), name)})
        assert changed.model_copy(update={section: reset}) == default


def test_every_option_sets_a_real_key() -> None:
    assert {option.key for option in RESTREAM} <= config_keys(RestreamConfig).keys()
    assert len({option.key for option in RESTREAM}) == len(RESTREAM)
    assert all(option.help.strip() for option in RESTREAM)


CAMERAS = """
[status]
interval_s = 5
[[stream]]
name = "front"
source = "camera:0"
targets = ["udp://h:1"]
"""


def test_a_file_of_streams_can_be_read_again(runner: Runner, tmp_path: Path) -> None:
    file = tmp_path / "cameras.toml"
    file.write_text(CAMERAS)
    assert run_stream.main(["restream", "--config", str(file), "--scale", "2"]) == 0
    assert ([each.name for each in runner.streams], runner.status.interval_s) == (["front"], 5)
    file.write_text(CAMERAS.replace("front", "yard"))
    assert runner.reload is not None
    assert [(each.name, each.settings.upscale.scale) for each in runner.reload()] == [("yard", 2)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "SOURCE and TARGET missing. Write: streamsr restream rtsp://"),
        ("camera:0", "TARGET missing"),
        ("--config low-latency", "SOURCE and TARGET missing"),
        ("--config cameras camera:0 udp://h:1", "the config file names its own streams"),
        ("--config low-latncy camera:0 udp://h:1", "Did you mean low-latency?"),
        ("--stal 3 camera:0 udp://h:1", "no such option --stal"),
        ("--stall soon camera:0 udp://h:1", "'soon' is not a time"),
        ("--bitrate 5 camera:0 udp://h:1", "'5' is not a bit rate"),
        ("--retry often camera:0 udp://h:1", "write auto, forever, never or a number"),
        ("--set ingest.stal_s=3 camera:0 udp://h:1", "Did you mean ingest.stall_s?"),
        ("rtsp://me:geheim@/1 udp://h:1", "an address without a host (the command line, rtsp://***@/1)"),
        ("camera:0 http://me:geheim@h/", "http is no kind of target (the command line, http://***@h/)"),
        ("camera:0 hls:out hls:out/", "two targets of stream would write to hls:out/"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(
    runner: Runner, words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_stream.main(["restream", *words.split()])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert said in err
    assert "geheim" not in err
    assert runner.streams == ()


def test_the_failure_of_a_stream_is_the_exit_code(runner: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    runner.failure = SourceError("wrong password", where="rtsp://***@h/", remedy="Write it into the address.")
    assert run_stream.main(["restream", "camera:0", "udp://h:1"]) == 3
    assert capsys.readouterr().err.endswith("error: wrong password (rtsp://***@h/). Write it into the address.\n")


def test_lines_are_dated_where_no_journal_does_it(
    runner: Runner, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    run_stream.main(["restream", "camera:0", "udp://h:1"])
    assert capsys.readouterr().err == "it runs\n"
    monkeypatch.delenv("JOURNAL_STREAM")
    run_stream.main(["restream", "camera:0", "udp://h:1"])
    assert capsys.readouterr().err.startswith("20")
    run_stream.main(["restream", "--set", "run.progress=json", "camera:0", "udp://h:1"])
    assert json.loads(capsys.readouterr().out) == {"event": "notice", "text": "it runs"}


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_stream.main(["restream", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.count("  streamsr restream ") == 5
    for heading in ("Picture", "Source", "Under load", "Encoding", "Targets", "Speed and memory", "Status", "Job"):
        assert f"\n{heading}:\n" in out
    assert "cameras, low-latency, steady" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80


def test_the_commands_of_help_and_manual_are_right(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "live.md").read_text("utf-8")
    run_stream.main(["restream", "--help"])
    lines = (page + capsys.readouterr().out).splitlines()
    commands = {line.strip() for line in lines if line.startswith("    streamsr restream ") and "[OPTIONS]" not in line}
    monkeypatch.setenv("PASSWORD", "x")
    shutil.copy(ROOT / "configs" / "live" / "cameras.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert len(commands) >= 5
    for command in commands:
        assert run_stream.main(shlex.split(command)[1:]) == 0, command


def test_every_option_is_in_the_manual() -> None:
    page = (ROOT / "docs" / "live.md").read_text("utf-8")
    for option in RESTREAM:
        for flag in option.flags:
            assert f"`{flag}" in page or f" {flag}" in page or f", {flag}" in page, flag


@pytest.mark.skipif(sys.platform != "linux", reason="arguments are overwritten on Linux only")
def test_nobody_sees_credentials_in_the_list_of_processes() -> None:
    code = (
        "import sys; from pathlib import Path; import run_stream;"
        "code = run_stream.main(sys.argv[1:]); sys.stdout.write(Path('/proc/self/cmdline').read_text())"
    )
    words = ["restream", "--slate", "ä b", "rtsp://me:geheim@h/1?token=geheim", "rtmp://h/app/geheim", "http://no/"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    shown = [word.rstrip() for word in done.stdout.rstrip("\0").split("\0")]
    assert "error: http is no kind of target" in done.stderr
    assert "geheim" not in done.stdout + done.stderr
    assert shown[3:] == ["restream", "--slate", "ä b", "rtsp://***@h/1?token=***", "rtmp://h/app/***", "http://no/"]
