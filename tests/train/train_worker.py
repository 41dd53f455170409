"""One process of several that train on made-up batches: CONFIG.json FOLDER; FAIL_AT=N kills the second at batch N."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from pipelines import train as program
from streamsr.train.config import TrainConfig
from streamsr.train.pairs import PairBatch
from tests.train.train_feed import Feed, open_feed

fail_at = int(os.environ.get("FAIL_AT", "-1"))
original = Feed.__next__


def handed(feed: Feed) -> PairBatch:
    if feed.n == fail_at and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return original(feed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    Feed.__next__ = handed  # type: ignore[method-assign, assignment]
    program.open_batches = open_feed  # type: ignore[attr-defined, assignment]
    config = TrainConfig.model_validate_json(Path(sys.argv[1]).read_text("utf-8"))
    program.train(config, Path(sys.argv[2]), sys.stderr)
