"""Whole runs on made-up batches: resume equals no stop, Ctrl-C saves, folders are respected, exports are upstream's."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch

from pipelines import train as program
from streamsr.degrade.reference import RRDBNet, SRVGGNetCompact
from streamsr.errors import ConfigError, Interrupted, SinkError, StageFailed, WeightsError
from streamsr.models.weights import load_network
from streamsr.train.checkpoint import checkpoints
from streamsr.train.config import TrainConfig
from streamsr.train.pairs import PairBatch
from tests.train.train_feed import Feed, open_feed, small_config


@pytest.fixture(autouse=True)
def _made_up_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "open_batches", open_feed)


def run(cfg: TrainConfig, folder: Path, **given: Any) -> str:
    """What the run said."""
    stream = io.StringIO()
    program.train(cfg, folder, stream, **given)
    return stream.getvalue()


def log_of(folder: Path) -> list[dict[str, Any]]:
    """Without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in ("step_s", "waiting")} for line in lines]


def on_batch(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], None]) -> None:
    """Calls `act` before batch `number` is handed out."""
    original = Feed.__next__

    def handed(self: Feed) -> PairBatch:
        if self.n == number:
            act()
        return original(self)

    monkeypatch.setattr(Feed, "__next__", handed)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


GAN = {"gan": 0.1, "gan_features": 8}


@pytest.mark.parametrize("loss", [{}, GAN], ids=["stage 1", "stage 2"])
def test_a_resumed_run_equals_one_that_was_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: dict[str, Any]
) -> None:
    cfg = small_config(loss=loss, optim={"steps": 8, "last_lr": 1e-5, "clip": 0.5, "ema_ramp": True})
    run(cfg, tmp_path / "whole")
    with monkeypatch.context() as patch:
        on_batch(patch, 4, interrupt)
        with pytest.raises(Interrupted, match=r"stopped and saved after step 5.*The same command goes on"):
            run(cfg, tmp_path / "parts")
    assert "goes on after step 5" in run(cfg, tmp_path / "parts")
    assert log_of(tmp_path / "parts") == log_of(tmp_path / "whole")
    one, two = (load_network(tmp_path / name / f"{name}.safetensors").module for name in ("whole", "parts"))
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())
    assert run(cfg, tmp_path / "parts").endswith("goes on after step 8\n")


def test_the_second_interrupt_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice() -> None:
        interrupt()
        interrupt()

    on_batch(monkeypatch, 4, twice)
    with pytest.raises(Interrupted, match="stopped at once"):
        run(small_config(), tmp_path)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000000003.pt"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Feed.__next__

    def poisoned(self: Feed) -> PairBatch:
        batch = original(self)
        if self.n == 5:
            batch.gt_N3HW[0, 0, 0, 0] = float("nan")
        return batch

    monkeypatch.setattr(Feed, "__next__", poisoned)
    with pytest.raises(StageFailed, match="stage train, item 4"):
        run(small_config(), tmp_path)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000000003.pt"]
    monkeypatch.setattr(Feed, "__next__", original)
    assert "goes on after step 3" in run(small_config(), tmp_path)
    assert [line["step"] for line in log_of(tmp_path)] == [1, 2, 3, 4, 5, 6], "step 4 was done twice and counts once"


def test_another_configuration_in_the_same_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(small_config(), folder)
    other = small_config(optim={"steps": 7})
    with pytest.raises(ConfigError, match=r"optim\.steps was 6, is 7"):
        run(other, folder)
    assert "step 7/7" in run(other, folder, resume=True)
    with pytest.raises(WeightsError, match="does not fit"):
        run(small_config(model={"features": 12}), folder, resume=True)
    words = run(small_config(model={"features": 12}), folder, fresh=True)
    assert f"the run that was here is now in {tmp_path / 'run.1'}" in words
    assert [path.name for path in checkpoints(tmp_path / "run.1")] == ["step-000000007.pt", "step-000000006.pt"]
    assert load_network(folder / "run.safetensors").architecture.features == 12


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(small_config(), folder)
    wanted = (folder / "run.pth").read_bytes()
    newest = checkpoints(folder)[0]
    newest.write_bytes(newest.read_bytes()[:1000])
    words = run(small_config(), folder)
    assert f"{newest.name} is damaged and passed over\ngoes on after step 3" in words
    assert (folder / "run.pth").read_bytes() == wanted


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def second() -> None:
        with pytest.raises(ConfigError, match="another training runs in this folder"):
            run(small_config(), tmp_path)
        with pytest.raises(ConfigError, match="another training runs in this folder"):
            run(small_config(), tmp_path, fresh=True)

    with monkeypatch.context() as patch:
        patch.setattr(program, "interrupts", _no_interrupts)
        on_batch(patch, 1, second)
        run(small_config(optim={"steps": 2}), tmp_path)


class _no_interrupts:  # noqa: N801
    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot use this folder"):
        run(small_config(), tmp_path / "file" / "run")


def test_a_terminal_gets_a_bar_with_losses_and_time_left(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    program.train(small_config(), tmp_path, stream)
    assert "6/6" in stream.getvalue()
    assert "loss" in stream.getvalue()


@pytest.mark.parametrize(
    ("model", "make"),
    [
        ({"family": "srvgg", "features": 8, "depth": 2, "scale": 4}, lambda: SRVGGNetCompact(3, 3, 8, 2, 4)),
        ({"family": "rrdb", "features": 8, "depth": 1, "growth": 4, "scale": 2}, lambda: RRDBNet(3, 3, 2, 8, 1, 4)),
    ],
    ids=["srvgg", "rrdb"],
)
def test_exports_are_what_basicsr_reads(
    tmp_path: Path, model: dict[str, Any], make: Callable[[], torch.nn.Module]
) -> None:
    folder = tmp_path / "mine"
    run(small_config(model=model, loss={"l1": 1.0}, optim={"steps": 3}), folder)
    theirs = make()
    layout = torch.load(folder / "mine.pth", weights_only=True)
    assert list(layout) == ["params", "params_ema"]
    lr_N3hw = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(1))
    made = {}
    for key in layout:
        theirs.load_state_dict(layout[key], strict=True)
        with torch.inference_mode():
            made[key] = theirs(lr_N3hw)
    assert not torch.equal(made["params"], made["params_ema"])
    for name in ("mine.safetensors", "mine.pth"):
        network = load_network(folder / name)
        with torch.inference_mode():
            assert torch.equal(network.module(lr_N3hw), made["params_ema"])
    with safetensors.safe_open(folder / "mine.safetensors", "pt") as file:
        facts = file.metadata()
    assert facts["steps"] == "3"
    assert facts["recipe"] == "x4plus"
    assert facts["data"] == "nowhere"
    assert facts["architecture"] == str(load_network(folder / "mine.pth").architecture)
    assert facts["commit"]
    assert json.loads(facts["config"])["optim"]["steps"] == 3
    assert str(tmp_path) not in str(facts), "a published file does not tell where its data lay"


def test_tensorboard_holds_curves_and_samples(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    run(small_config(run={"tensorboard": True, "samples": 2}), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "train/l1", "train/rate"} <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    image = events.Images("samples")[-1]
    assert (image.step, image.width, image.height) == (6, 3 * 32, 2 * 32)


def test_compiled_training_exports_the_same_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile itself takes a compiler and minutes; here it is replaced by a call."""
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    run(small_config(run={"compile": True}, optim={"steps": 2}), tmp_path)
    assert len(compiled) == 1
    assert load_network(tmp_path / f"{tmp_path.name}.safetensors").scale == 2
