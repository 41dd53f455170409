"""The verb `degrade`. Light at the top: torch and pydantic are imported when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamsr.errors import SomeFailed, StreamSRError

if TYPE_CHECKING:
    from pipelines.degrade import DegradeJob
    from streamsr.degrade.steps import Step
    from streamsr.display.progress import Display

EXAMPLES = """\b
Examples:
  streamsr degrade photo.png small.png --seed 7 --steps
  streamsr degrade photo.png explained.png --seed 7 --grid
  streamsr degrade photos/ photos_small/ --recipe x2plus --scale 2
  streamsr degrade film.mkv film_small.mkv --recipe animevideo
  streamsr degrade photo.png small.png --set first.jpeg_prob=0 --set final.sinc_prob=1

IN is a picture, a clip, or a folder of both. OUT is a file (pictures: PNG, WebP, TIFF, BMP), or a folder when IN is
one; names are kept, pictures become PNG and clips MKV. In a folder each file has a seed of its own, made of --seed and
its name; what is finished already is skipped, what cannot be read is named and does not stop the others.

The same seed gives the same picture on the same machine. docs/degrade.md explains the steps and all keys.
"""


@click.command("degrade", epilog=EXAMPLES)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT")
@click.option(
    "--recipe",
    default="x4plus",
    show_default=True,
    metavar="NAME|FILE",
    help="x4plus, x2plus, classical for pictures, animevideo, lite for video; or a TOML file.",
)
@click.option("--scale", type=click.IntRange(1, 16), default=4, show_default=True, help="How much smaller.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides all that is drawn.")
@click.option("--grid", is_flag=True, help="Draw every step with its numbers instead of writing the result.")
@click.option("--steps", is_flag=True, help="Print the table of the steps.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set any key of the recipe. Repeatable.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def degrade(
    ctx: click.Context,
    /,
    source: Path,
    target: str,
    recipe: str,
    scale: int,
    seed: int,
    grid: bool,
    steps: bool,
    assignments: tuple[str, ...],
    overwrite: bool,
    debug: bool,
) -> None:
    """Make good pictures bad, as the world does: for training, or to see what a recipe does."""
    from pipelines.degrade import DegradeJob, plan_pairs
    from streamsr.degrade.recipe import load_recipe
    from streamsr.display.progress import open_display

    del debug  # run_stream.py looks for it among the words
    job = DegradeJob(
        recipe=load_recipe(recipe, assignments),
        recipe_name=Path(recipe).stem,
        scale=scale,
        seed=seed,
        grid=grid,
        overwrite=overwrite,
    )
    pairs = plan_pairs(source, target, grid=grid)
    with open_display("auto", sys.stdout, sys.stderr) as display:
        if source.is_dir():
            ctx.exit(_degrade_folder(job, source, pairs, display, steps=steps))
        [(file, out)] = pairs
        _degrade_one(job, file, out, seed, display, steps=steps)


def _degrade_folder(
    job: DegradeJob, folder: Path, pairs: list[tuple[Path, Path]], display: Display, *, steps: bool
) -> int:
    """The exit code: SomeFailed's when a file failed."""
    from pipelines.degrade import seed_of

    counts = {"degraded": 0, "skipped": 0, "failed": 0}
    for number, (file, out) in enumerate(pairs, start=1):
        place = f"[{number}/{len(pairs)}]"
        if out.exists() and not job.overwrite:
            display.notice(f"{place} {file}: finished already, skipped ({out})")
            counts["skipped"] += 1
            continue
        display.notice(f"{place} {file} -> {out}")
        try:
            _degrade_one(job, file, out, seed_of(job, file, folder), display, steps=steps)
            counts["degraded"] += 1
        except StreamSRError as error:
            display.failed(str(file), str(error), error.exit_code)
            counts["failed"] += 1
    display.notice(", ".join(f"{count} {what}" for what, count in counts.items()) + f" of {len(pairs)} files")
    return SomeFailed.exit_code if counts["failed"] else 0


def _degrade_one(job: DegradeJob, file: Path, out: Path, seed: int, display: Display, *, steps: bool) -> None:
    from pipelines.degrade import degrade_file
    from streamsr.display.table import show_table

    done = degrade_file(job, file, out, seed, display.notice)
    if steps:
        show_table(sys.stdout, job.title(file, seed), ("step", "numbers"), [_row(step) for step in done])


def _row(step: Step) -> tuple[str, str]:
    return step.name, ", ".join(f"{name} {value}" for name, value in step.parameters.items())
