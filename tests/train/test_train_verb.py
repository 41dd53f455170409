"""The verb `train` on pictures in a folder: both stages of x4plus made small, paired data, distillation, mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch

import run_stream
from pipelines.train_config import read_config, train_presets
from pipelines.verb_train import train
from streamsr.config import config_keys
from streamsr.degrade.recipe import load_recipe
from streamsr.errors import ConfigError
from streamsr.models.registry import Architecture
from streamsr.models.weights import load_network
from streamsr.train.checkpoint import checkpoints
from streamsr.train.config import TrainConfig
from streamsr.train.export import export
from tests.media import Clip, make_clip
from tests.train.train_feed import pictures

SMALL = {
    "model.features": 8,
    "data.crop": 64,
    "data.workers": 0,
    "optim.batch": 2,
    "optim.steps": 4,
    "run.device": "cpu",
    "run.threads": 1,
    "run.log_every": 1,
    "run.save_every": 2,
    "run.tensorboard": "false",
}
RRDB = {"model.depth": 1, "model.growth": 4, "pool.size": 4, "pool.fresh": 1}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As other tests find it, afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, picture in enumerate(pictures(3, 96, seed=4)):
        image = (picture.permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


def call(config: str | Path, out: Path, *flags: str, **keys: Any) -> list[dict[str, Any]]:
    """Runs the verb; the lines of its log without what depends on the clock. In the keys "__" stands for the dot."""
    settings = SMALL | {key.replace("__", "."): value for key, value in keys.items()}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    train.main([str(config), *words, "--out", str(out), *flags], standalone_mode=False)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in ("step_s", "waiting")} for line in lines]


def folders(*paths: Path) -> str:
    return json.dumps([str(path) for path in paths])


def test_both_stages_of_x4plus(photos: Path, tmp_path: Path) -> None:
    """As shipped but for sizes, the start and VGG's weights, which are not at hand; validated on the way."""
    data = {"data__pictures": folders(photos), **{key.replace(".", "__"): value for key, value in RRDB.items()}}
    check = {"validation__pictures": folders(photos), "validation__every": 2, "validation__count": 1}
    one = call("x4plus-stage1", tmp_path / "one", **data, **check, model__start='""')
    assert [line["step"] for line in one if line["kind"] == "train"] == [1, 2, 3, 4]
    assert [line["step"] for line in one if line["kind"] == "validation"] == [2, 4]
    assert {"psnr", "ssim"} <= one[-1].keys()
    sizes = {"loss__perceptual": 0, "loss__gan_features": 8}
    two = call("x4plus-stage2", tmp_path / "two", **data, **sizes, model__start=tmp_path / "one")
    assert {"loss", "l1", "gan", "d_real", "d_fake", "verdict_real", "verdict_fake"} <= two[0].keys()
    for name in ("one", "two"):
        network = load_network(tmp_path / name / f"{name}.safetensors")
        assert str(network.architecture) == "RRDB x4, 8 features, 1 blocks"
        with torch.inference_mode():
            assert network.module(torch.rand(1, 3, 7, 5)).shape == (1, 3, 28, 20)


@pytest.mark.parametrize("pool", ["no pool", "in memory", "in files"])
def test_resume_on_real_batches_is_exact(photos: Path, tmp_path: Path, pool: str) -> None:
    """Also with a pool and random patches of it; the process stopped after a checkpoint and threw one step away."""
    keys: dict[str, Any] = {
        "data__pictures": folders(photos), "data__patch": 8, "pool__fresh": 1,
        "pool__size": 0 if pool == "no pool" else 4, "model__family": "srvgg", "model__depth": 1,
        "model__start": '""', "optim__steps": 5,
    }  # fmt: skip
    wanted = call("x4plus-stage1", tmp_path / "whole", **keys)
    if pool == "in files":
        keys["pool__folder"] = tmp_path / "pool"  # is ahead of the checkpoint when the run goes on
    call("x4plus-stage1", tmp_path / "parts", **keys)
    run = tmp_path / "parts"
    for path in checkpoints(run)[:1]:
        path.unlink()  # of step 5: goes on from step 4
    lines = (run / "log.jsonl").read_text("utf-8").splitlines()
    (run / "log.jsonl").write_text("\n".join(lines[:4]) + "\n", "utf-8")
    assert call("x4plus-stage1", run, **keys) == wanted


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_saves(photos: Path, tmp_path: Path) -> None:
    """It reaches the processes that make pairs too: they leave the end to the training."""
    settings = SMALL | {**RRDB, "data.pictures": folders(photos), "model.start": '""', "data.workers": 1}
    settings |= {"optim.steps": 100_000, "run.save_every": 100_000}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "run_stream", "train", "x4plus-stage1", *words, "--out", str(tmp_path / "run")]
    root = Path(__file__).parents[2]
    job = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True, start_new_session=True)
    log, deadline_s = tmp_path / "run" / "log.jsonl", time.monotonic() + 60
    while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline_s and job.poll() is None:
        time.sleep(0.1)
    os.killpg(job.pid, signal.SIGINT)
    try:
        said = job.communicate(timeout=40)[1]
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        said = job.communicate()[1]
    assert job.returncode == 130, said
    assert said.splitlines()[-1].startswith("error: stopped and saved after step ")
    assert len(checkpoints(tmp_path / "run")) == 1


def test_what_was_trained_upscales_a_clip(photos: Path, tmp_path: Path) -> None:
    sizes = {"model__family": "srvgg", "model__depth": 1, "model__start": '""', "pool__size": 0}
    call("x4plus-stage1", tmp_path / "mine", data__pictures=folders(photos), **sizes)
    clip, target = tmp_path / "clip.mp4", tmp_path / "large.mp4"
    make_clip(clip, Clip(frames=3, size=(32, 24)))
    model = tmp_path / "mine" / "mine.safetensors"
    assert run_stream.main(["upscale", "--model", str(model), "--device", "cpu", str(clip), str(target)]) == 0
    with av.open(str(target)) as container:
        sizes_found = [(frame.width, frame.height) for frame in container.decode(video=0)]
    assert sizes_found == [(128, 96)] * 3


def test_paired_pictures(photos: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    for path in photos.iterdir():
        picture = cv2.imread(str(path))
        assert picture is not None
        cv2.imwrite(str(small / path.name), cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA))
    keys = {"model.family": "srvgg", "model.depth": 1, "model.start": '""', "loss.perceptual": 0, "loss.gan": 0}
    where = {"data__pictures": folders(photos), "data__lr": small, "data__crop": 64}
    found = call("paired", tmp_path / "run", **where, **{key.replace(".", "__"): value for key, value in keys.items()})
    assert all(0 < line["l1"] < 0.5 for line in found)


@pytest.mark.parametrize("config", ["lite", "lite-x2"])
def test_distillation(photos: Path, tmp_path: Path, config: str) -> None:
    module = Architecture("srvgg", 4, 3, 3, 8, 1).build()
    teacher = export(tmp_path, "teacher", module, module, {})
    keys: dict[str, Any] = {
        "data__pictures": folders(photos), "data__clips": "[]", "data__recipe": "classical", "data__patch": 8,
        "data__held_out": '""', "data__zoom": 1, "pool__size": 4, "pool__folder": tmp_path / "pool", "model__depth": 1,
        "data__shares": "{}", "distill__teacher": teacher, "optim__warmup": 2, "model__start": '""',
    }  # fmt: skip
    found = call(config, tmp_path / config, **keys)
    assert [line["step"] for line in found] == [1, 2, 3, 4]
    assert {"l1", "edge", "means"} <= found[0].keys()
    assert load_network(tmp_path / config / f"{config}.safetensors").scale == (2 if config == "lite-x2" else 4)


def test_a_teacher_of_another_scale_is_refused(photos: Path, tmp_path: Path) -> None:
    module = Architecture("srvgg", 2, 3, 3, 8, 1).build()
    teacher = export(tmp_path, "teacher", module, module, {})
    data = {"data__pictures": folders(photos), "data__clips": "[]", "data__shares": "{}", "data__patch": 8}
    with pytest.raises(ConfigError, match="the teacher teacher enlarges by 2, the student by 4"):
        call("lite", tmp_path / "run", **data, distill__teacher=teacher)


@pytest.mark.parametrize(
    ("config", "keys", "words"),
    [
        ("x4plus-stage", {}, r"no such training configuration.*x4plus-stage[12]"),
        ("lite", {"optim__stepz": 3}, r"optim\.stepz.*Did you mean optim\.steps"),
        ("lite", {"optim__lr": -1}, r"optim\.lr"),
        ("lite", {"data__pictures": "[]", "data__clips": "[]"}, "nothing to learn from"),
        ("missing.toml", {}, "cannot read the config file"),
        (
            "lite",
            {
                "data__pictures": '["no-such-folder"]',
                "data__clips": "[]",
                "data__shares": "{}",
                "data__patch": 8,
                "distill__teacher": '""',
            },
            "no-such-folder",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, config: str, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call(config, tmp_path / "run", **keys)


@pytest.mark.parametrize("name", sorted(train_presets()))
def test_shipped_configurations_load(name: str) -> None:
    cfg, stem = read_config(name, ())
    assert stem == name
    assert train_presets()[name].read_text("utf-8").startswith("# "), "a configuration says what it is for"
    if not cfg.data.lr:
        load_recipe(cfg.data.recipe)


def test_official_stages_are_upstreams() -> None:
    """train_realesrnet_x4plus.yml and train_realesrgan_x4plus.yml."""
    for scale in (4, 2):
        one, two = (read_config(f"x{scale}plus-stage{stage}", ())[0] for stage in (1, 2))
        assert (one.optim.lr, two.optim.lr, one.optim.steps, two.optim.steps) == (2e-4, 1e-4, 1_000_000, 400_000)
        assert (one.loss.l1, one.loss.perceptual, one.loss.gan, one.loss.l1_sharp) == (1, 0, 0, True)
        assert (two.loss.l1, two.loss.perceptual, two.loss.gan, two.loss.gan_kind) == (1, 1, 0.1, "vanilla")
        assert (two.loss.l1_sharp, two.loss.perceptual_sharp, two.loss.gan_sharp) == (True, True, False)
        for cfg in (one, two):
            assert (cfg.optim.batch, cfg.data.crop, cfg.pool.size, cfg.model.scale) == (12, 256, 180, scale)
            assert (cfg.optim.betas, cfg.optim.ema, cfg.optim.clip, cfg.optim.last_lr) == ((0.9, 0.99), 0.999, 0, None)
            model = cfg.model
            assert (model.family, model.features, model.depth, model.growth) == ("rrdb", 64, 23, 32)


def test_every_key_is_in_the_manual() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text("utf-8")
    for key, words in config_keys(TrainConfig).items():
        assert words, f"{key} has no docstring"
        assert f"`{key}`" in page, f"docs/training.md does not mention {key}"
