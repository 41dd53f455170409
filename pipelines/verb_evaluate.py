"""The verb `evaluate`. Light at the top: torch is imported when it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

EXAMPLES = """\b
Examples:
  streamsr evaluate lite --pictures photos/ --out compared/
  streamsr evaluate runs/mine/model.safetensors lite --pictures photos/ --held-out held-out.toml
  streamsr evaluate lite --teacher animevideov3 --pictures drawings/ --recipe x4plus --seed 7
  streamsr evaluate lite --pictures originals/ --pairs small/ --flicker still.mp4

MODEL is a name (see `models list`) or a checkpoint. Bicubic and Lanczos are always shown beside the models.
docs/evaluate.md explains the numbers.
"""


@click.command("evaluate", epilog=EXAMPLES)
@click.argument("models", nargs=-1, metavar="[MODEL...]")
@click.option(
    "--pictures", "-i", multiple=True, required=True, metavar="PATH",
    help="Originals: a picture, a clip, or a folder of both. Repeatable.",
)  # fmt: skip
@click.option("--pairs", default="", metavar="DIR", help="The small pictures, by the same names; else they are made.")
@click.option("--held-out", default="", metavar="FILE", help="TOML list: only what it names is judged.")
@click.option("--recipe", default="", metavar="NAME|FILE", help="Make small pictures by this recipe, not by area.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides what the recipe draws.")
@click.option(
    "--smaller", type=click.Choice(("area", "bicubic")), default="area", show_default=True, help="Without a recipe."
)
@click.option(
    "--jpeg",
    type=click.IntRange(0, 100),
    default=0,
    metavar="1..100",
    help="Without a recipe: compress the small picture.",
)
@click.option("--scale", type=click.IntRange(0, 16), default=0, metavar="FACTOR", help="Default: the models' smallest.")
@click.option("--teacher", default="", metavar="MODEL", help="Also compare with the pictures of this model.")
@click.option("--niqe", is_flag=True, help="Also how natural pictures look (slow).")
@click.option(
    "--flicker",
    multiple=True,
    metavar="CLIP",
    help="Measure flicker on a clip with parts that stand still. Repeatable.",
)
@click.option(
    "--max-side", type=click.IntRange(0), default=0, metavar="PIXELS", help="Reduce larger originals to this."
)
@click.option(
    "--crop", type=click.IntRange(0), default=0, metavar="PIXELS", help="Use the centre part of this side only."
)
@click.option("--count", type=click.IntRange(0), default=0, metavar="NUMBER", help="At most so many pictures.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder for index.html and evaluation.json."
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def evaluate(
    models: tuple[str, ...],
    pictures: tuple[str, ...],
    pairs: str,
    held_out: str,
    recipe: str,
    seed: int,
    smaller: str,
    jpeg: int,
    scale: int,
    teacher: str,
    niqe: bool,
    flicker: tuple[str, ...],
    max_side: int,
    crop: int,
    count: int,
    device: str,
    out: Path | None,
    debug: bool,
) -> None:
    """Measure networks on pictures, and show them beside bicubic and Lanczos."""
    from pipelines.evaluate import Job, judge
    from streamsr.display.progress import open_display
    from streamsr.display.table import show_table
    from streamsr.train.cases import CaseConfig

    del debug  # run_stream.py looks for it among the words
    cases = CaseConfig(
        scale=scale, held_out=held_out, recipe=recipe, smaller="area" if smaller == "area" else "bicubic", jpeg=jpeg,
        max_side=max_side, crop=crop, count=count, seed=seed, lr=pairs,
    )  # fmt: skip
    job = Job(
        models=models,
        pictures=pictures,
        cases=cases,
        teacher=teacher,
        niqe=niqe,
        flicker=flicker,
        device=device,
        out=out,
    )
    with open_display("auto", sys.stdout, sys.stderr) as display:
        verdict = judge(job, display.notice)
    for table in verdict.tables:
        show_table(sys.stdout, table.title, table.columns, table.rows)
    if verdict.page is not None:
        show_table(sys.stdout, "", (), [("to look at", str(verdict.page))])
