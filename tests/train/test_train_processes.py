"""Two processes under torchrun (gloo, loopback) train as one with twice the batch does; a death ends both."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from streamsr.models.weights import load_network
from streamsr.train.checkpoint import checkpoints
from streamsr.train.config import TrainConfig
from tests.train.train_feed import small_config

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("train_worker.py")
TIMEOUT_S = 60


def start(cfg: TrainConfig, folder: Path, processes: int, **env: str) -> subprocess.Popen[str]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    config = folder.with_suffix(".json")
    config.write_text(cfg.model_dump_json(), "utf-8")
    torchrun = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--master-addr=127.0.0.1"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, *torchrun, f"--master-port={port}", str(WORKER), str(config), str(folder)]
    lonely = {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command if processes > 1 else [sys.executable, str(WORKER), str(config), str(folder)],
        env=os.environ | lonely | env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(job: subprocess.Popen[str]) -> str:
    """What it said; it ends in bounded time, with its processes."""
    try:
        return job.communicate(timeout=TIMEOUT_S)[1]
    finally:
        if job.poll() is None:
            for process in [*psutil.Process(job.pid).children(recursive=True), psutil.Process(job.pid)]:
                process.kill()
            job.communicate()


def losses_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    return [
        {name: value for name, value in line.items() if name not in ("kind", "step_s", "waiting")} for line in lines
    ]


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(tmp_path: Path) -> None:
    """Both stages' losses; fp32 sums in another order are the only difference."""
    same: dict[str, Any] = {"loss": {"gan": 0.1, "gan_features": 8, "edge": 0.3}}
    one = small_config(**same, optim={"batch": 4, "clip": 0.5, "steps": 5})
    two = small_config(**same, optim={"batch": 2, "clip": 0.5, "steps": 5})
    single, pair = start(one, tmp_path / "one", 1), start(two, tmp_path / "two", 2)
    said = finish(single), finish(pair)
    assert (single.returncode, pair.returncode) == (0, 0), said
    found, wanted = losses_of(tmp_path / "two"), losses_of(tmp_path / "one")
    assert len(found) == 5
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=2e-3, abs=1e-5)
    states = [load_network(tmp_path / name / f"{name}.safetensors").module.state_dict() for name in ("one", "two")]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=2e-5)
    assert "Warning" not in said[1]
    assert said[1].count("step 5/5") == 1, "only the first process speaks"
    checkpoint = torch.load(checkpoints(tmp_path / "two")[0], weights_only=True)
    assert checkpoint["batches"] == [{"step": 5}, {"step": 5}]


@pytest.mark.slow
def test_a_killed_process_ends_the_others(tmp_path: Path) -> None:
    cfg = small_config(optim={"steps": 1000}, run={"patience_s": 20})
    job = start(cfg, tmp_path / "run", 2, FAIL_AT="4")
    began_s = time.monotonic()
    finish(job)
    assert job.returncode != 0
    assert time.monotonic() - began_s < TIMEOUT_S
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-000000003.pt"]


@pytest.mark.slow
def test_a_termination_saves_in_all_processes(tmp_path: Path) -> None:
    cfg = small_config(optim={"steps": 100_000}, run={"save_every": 100_000})
    job = start(cfg, tmp_path / "run", 2)
    log = tmp_path / "run" / "log.jsonl"
    deadline_s = time.monotonic() + TIMEOUT_S
    while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline_s and job.poll() is None:
        time.sleep(0.1)
    job.terminate()
    said = finish(job)
    assert job.returncode != 0
    assert len(checkpoints(tmp_path / "run")) == 1, said
