"""The verb `prepare`. Light at the top: OpenCV is imported when it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

EXAMPLES = """\b
Examples:
  streamsr prepare photos/ photos_scales/
  streamsr prepare photos/ photos_parts/ --part 480
  streamsr prepare photos/ photos_parts/ --scales 1 --shortest-edge 0 --part 480 --step 240

IN is a folder of pictures, searched with its subfolders; OUT gets PNGs. Pictures that are finished are not made again,
damaged ones are named and left out. docs/evaluate.md says how training and evaluation use such folders.
"""


@click.command("prepare", epilog=EXAMPLES)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--scales", default="1,0.75,0.5,0.333333", show_default=True, metavar="NUMBERS", help="Sizes of each picture."
)
@click.option(
    "--shortest-edge", type=click.IntRange(0), default=400, show_default=True, metavar="PIXELS",
    help="The smallest size: this is its smaller side. 0: none.",
)  # fmt: skip
@click.option("--part", type=click.IntRange(0), default=0, metavar="PIXELS", help="Cut into squares of this side.")
@click.option(
    "--step", type=click.IntRange(0), default=0, metavar="PIXELS", help="Between squares [default: half a side]."
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def prepare(source: Path, target: Path, scales: str, shortest_edge: int, part: int, step: int, debug: bool) -> None:
    """Make a folder of large pictures ready for training: several sizes, cut into parts."""
    from pipelines.prepare import prepare_folder
    from streamsr.display.progress import open_display
    from streamsr.train.prepare import Preparation

    del debug  # run_stream.py looks for it among the words
    try:
        numbers = tuple(float(word) for word in scales.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{scales!r} is no list of numbers", param_hint="--scales") from error
    how = Preparation(scales=numbers, shortest_edge=shortest_edge, part=part, step=step)
    with open_display("auto", sys.stdout, sys.stderr) as display:
        prepare_folder(source, target, how, display.notice)
