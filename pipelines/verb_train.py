"""The verb `train`. Light at the top: torch and pydantic are imported when it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

EXAMPLES = """\b
Examples:
  streamsr train my.toml
  streamsr train x4plus-stage1 --set 'data.pictures=["photos"]' --out runs/stage1
  streamsr train x4plus-stage2 --set 'data.pictures=["photos"]' --set model.start=runs/stage1
  torchrun --nproc-per-node 4 --no-python streamsr train my.toml

CONFIG is a TOML file, or a name in configs/train. The same command goes on with a run that was stopped.
docs/training.md explains all keys.
"""


@click.command("train", epilog=EXAMPLES)
@click.argument("config", metavar="CONFIG")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set any key, as optim.steps=1000.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run's folder [default: runs/CONFIG].")
@click.option("--resume", is_flag=True, help="Go on with the run in DIR although its configuration was another.")
@click.option("--fresh", is_flag=True, help="Begin anew; a run in DIR is renamed to DIR.1.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def train(config: str, assignments: tuple[str, ...], out: Path | None, resume: bool, fresh: bool, debug: bool) -> None:
    """Train a network on pictures and clips."""
    from pipelines.train import train as run_training
    from pipelines.train_config import read_config

    del debug  # run_stream.py looks for it among the words
    if resume and fresh:
        raise click.UsageError("--resume and --fresh exclude each other")
    cfg, name = read_config(config, assignments)
    run_training(cfg, out or Path("runs") / name, sys.stderr, resume=resume, fresh=fresh)
