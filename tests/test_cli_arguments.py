"""What the command line understands, and what it says to mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import run_stream
import streamsr
from pipelines.options import BENCH, UPSCALE, click_options, job_config
from pipelines.presets import find_config, preset_names
from streamsr.config import JobConfig, config_keys
from streamsr.errors import ConfigError

ROOT = Path(run_stream.__file__).parent


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the console script's entry point, in this process."""
    code = run_stream.main([*words])
    out, err = capsys.readouterr()
    return code, out, err


def parsed(*words: str) -> JobConfig:
    """The job that the words of `upscale` describe."""
    taken: dict[str, Any] = {}
    options = [option for group in click_options("upscale").values() for option in group]
    command = click.Command("upscale", params=list(options), callback=lambda **values: taken.update(values))
    assert CliRunner().invoke(command, words, standalone_mode=False).exception is None
    return job_config(taken.pop("preset"), taken.pop("assignments"), taken)


def test_no_option_is_the_default_job() -> None:
    assert parsed() == JobConfig()


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("-n x4plus", "upscale.model", "x4plus"),
        ("-s 1.5", "upscale.scale", 1.5),
        ("--to 1920x1080", "upscale.to", "1920x1080"),
        ("-dn 0.25", "upscale.denoise", 0.25),
        ("-t 400", "upscale.tile", 400),
        ("--batch 8", "upscale.batch", 8),
        ("-g 0,1", "upscale.device", "cuda:0,1"),
        ("-g 0", "upscale.device", "cuda:0"),
        ("--device CPU", "upscale.device", "cpu"),
        ("--device cuda:1", "upscale.device", "cuda:1"),
        ("--precision bf16", "upscale.precision", "bf16"),
        ("--start 1:02:03.5", "source.start_s", 3723.5),
        ("--duration 90", "source.duration_s", 90.0),
        ("--deinterlace", "source.deinterlace", True),
        ("--no-deinterlace", "source.deinterlace", False),
        ("--decoder cpu", "source.decoder", "cpu"),
        ("--codec ffv1", "encode.codec", "ffv1"),
        ("--quality 0", "encode.quality", 0),
        ("--preset slow", "encode.preset", "slow"),
        ("--encoder hevc_nvenc", "encode.encoder", "hevc_nvenc"),
        ("--pix-fmt yuv420p10le", "encode.pix_fmt", "yuv420p10le"),
        ("--audio none", "output.audio", "none"),
        ("--overwrite", "output.overwrite", True),
        ("--report r.json", "output.report", "r.json"),
        ("--progress json", "run.progress", "json"),
        ("--debug", "run.debug", True),
        ("--set run.patience_s=5", "run.patience_s", 5.0),
        ("--set source.deinterlace=false", "source.deinterlace", False),
        ("--config web-1080p", "upscale.to", "1080p"),
    ],
)
def test_each_option_sets_its_key_and_no_other(words: str, key: str, value: object) -> None:
    section, name = key.split(".")
    changed, default = parsed(*words.split()), JobConfig()
    assert getattr(getattr(changed, section), name) == value
    if "--config" not in words:
        reset = getattr(changed, section).model_copy(update={name: getattr(getattr(default, section), name)})
        assert changed.model_copy(update={section: reset}) == default


def test_options_win_over_assignments_and_those_over_the_preset(tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text("[encode]\nquality = 1\npreset = 'slow'\ncodec = 'av1'\n")
    cfg = parsed("--quality", "3", "--set", "encode.quality=2", "--set", "encode.preset=fast", "--config", str(preset))
    assert (cfg.encode.quality, cfg.encode.preset, cfg.encode.codec) == (3, "fast", "av1")


def test_every_option_sets_a_real_key_that_the_config_has() -> None:
    assert {option.key for option in (*UPSCALE, *BENCH)} <= config_keys().keys()
    assert len({option.key for option in UPSCALE}) == len(UPSCALE)
    assert all(option.help.strip() for option in UPSCALE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("upsacle a b.mp4", "no such command 'upsacle'. Did you mean upscale?"),
        ("frobnicate", "There are upscale, chunked, restream, "),
        ("upscale", "INPUT and OUTPUT missing"),
        ("upscale a.mp4", "OUTPUT missing. Write: streamsr upscale"),
        ("upscale --qualty 3 LICENSE b.mp4", "Did you mean --quality?"),
        ("upscale --quality LICENSE b.mp4", "'LICENSE' is not a valid integer"),
        ("upscale --quality 101 LICENSE b.mp4", "101 is not in the range 0<=x<=100"),
        ("upscale --scale 0 LICENSE b.mp4", "0<x<=16"),
        ("upscale --codec h265 LICENSE b.mp4", "'h265' is not one of 'auto', 'h264', 'hevc'"),
        ("upscale --to 5k LICENSE b.mp4", "'5k' is not a size; write 8k, 4k"),
        ("upscale --start soon LICENSE b.mp4", "'soon' is not a time"),
        ("upscale --start", "requires an argument"),
        ("upscale --set upscale.bacth=3 LICENSE b.mp4", "Did you mean upscale.batch?"),
        ("upscale --set upscale.batch LICENSE b.mp4", "has no '='"),
        ("upscale --config web-1080 LICENSE b.mp4", "Did you mean web-1080p?"),
        ("upscale --config nowhere.toml LICENSE b.mp4", "cannot read the config file (nowhere.toml)"),
        ("upscale --config LICENSE LICENSE b.mp4", "not valid TOML"),
        ("upscale LICENSE nothing", "OUTPUT has no file type"),
        ("models lst", "Did you mean list?"),
        ("models pull", "missing argument"),
        ("doctor --jsn", "Did you mean --json"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(
    words: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    code, out, err = run(*words.split(), capsys=capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err


def test_each_class_of_error_has_its_exit_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    there = tmp_path / "there.mp4"
    there.touch()
    assert run("upscale", str(tmp_path / "no.mp4"), "b.mp4", capsys=capsys)[0] == 3
    assert run("upscale", str(ROOT / "LICENSE"), str(there), capsys=capsys)[0] == 4
    assert run("models", "info", "frobnicate", capsys=capsys)[0] == 5


def test_a_bug_is_one_line_and_a_traceback_with_debug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("pipelines.presets.find_config", broken)
    monkeypatch.setattr("pipelines.options.find_config", broken)
    code, _, err = run("upscale", "a", "b.mp4", capsys=capsys)
    assert (code, err) == (
        1,
        "error: internal error: ZeroDivisionError: two lines; run again with --debug and report\n",
    )
    code, _, err = run("upscale", "a", "b.mp4", "--debug", capsys=capsys)
    assert code == 1
    assert "Traceback" in err
    assert err.endswith("report\n")


def test_ctrl_c_outside_a_job(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.options.find_config", stopped)
    code, out, err = run("upscale", "a", "b.mp4", capsys=capsys)
    assert (code, out, err.strip()) == (130, "", "error: stopped by the user")


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"], ["models"], ["models", "--help"], ["bench", "-h"], ["doctor", "-h"]):
        code, out, err = run(*words, capsys=capsys)
        assert (code, err) == (0, "")
        assert "Usage:" in out
    code, out, _ = run("upscale", "--help", capsys=capsys)
    assert code == 0
    assert out.count("  streamsr upscale ") == 4
    for heading in ("Picture:", "Range:", "Encoding:", "Speed and memory:", "Input and sound:", "Job:", "Examples:"):
        assert f"{heading}\n" in out
    assert "[default: 75]" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = run("--version", capsys=capsys)
    assert out == f"streamsr, version {streamsr.__version__}\n"


def test_presets_are_found_by_name_and_a_file_of_that_name_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(None) is None
    assert find_config("web-1080p") == preset_names()["web-1080p"]
    (tmp_path / "web-1080p").touch()
    assert find_config("web-1080p") == Path("web-1080p")
    with pytest.raises(ConfigError, match=r"There are .*4k-hevc"):
        find_config("??")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    program = f"{sys.executable} run_stream.py upscale --help | head -n 1"
    done = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("Usage: ")
    assert done.stderr == ""
