"""The command line: arguments -> config -> one pipeline -> exit code. The only place that prints."""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

import streamsr
from pipelines.files import check_target, plan_files
from pipelines.outcome import outcome_of
from pipelines.reports import ReportFile
from pipelines.several import Listed, work_through
from pipelines.verb_chunked import chunked
from pipelines.verb_degrade import degrade
from pipelines.verb_evaluate import evaluate
from pipelines.verb_prepare import prepare
from pipelines.verb_preview import preview
from pipelines.verb_restream import restream
from pipelines.verb_train import train
from pipelines.verbs import ConfiguredCommand, VerbGroup
from streamsr.display.table import show_table
from streamsr.errors import ConfigError
from streamsr.runtime.leave import leave

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from streamsr.config import JobConfig
    from streamsr.display.progress import Display
    from streamsr.report import Report

# torch, av, pydantic and rich are imported inside the verbs: `--help` and the encoder's process do without them.

UPSCALE_EXAMPLES = """\b
Examples:
  streamsr upscale film.mp4 film_4k.mp4
  streamsr upscale --start 1:30 --duration 10 film.mkv sample.mkv
  streamsr upscale --to 1080p --codec hevc --quality 80 old.avi new.mkv
  streamsr upscale --config web-1080p season1/ season1_1080p/

INPUT is a video file in any container that FFmpeg reads, several files, or a folder. OUTPUT is a file, or a folder when
there are several. Files that are finished already are skipped, and one that fails does not stop the others.
"""


@click.group(cls=VerbGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(streamsr.__version__, prog_name="streamsr")
@click.pass_context
def cli(ctx: click.Context, /) -> None:
    """Video super-resolution: a video file in, a 4K file with its audio out."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@cli.command(cls=ConfiguredCommand, table="upscale", epilog=UPSCALE_EXAMPLES, options_metavar="[OPTIONS]")
@click.argument("paths", nargs=-1, metavar="INPUT... OUTPUT")
@click.pass_context
def upscale(
    ctx: click.Context, /, paths: tuple[str, ...], preset: str | None, assignments: tuple[str, ...], **given: Any
) -> None:
    """Upscale video files, with their sound and all else."""
    if len(paths) < 2:
        missing = "OUTPUT" if paths else "INPUT and OUTPUT"
        raise ConfigError(f"{missing} missing", remedy="Write: streamsr upscale film.mp4 film_4k.mp4")
    from pipelines.options import job_config

    cfg = job_config(preset, assignments, given)
    entries = Listed(plan_files(paths[:-1], paths[-1]))
    if entries.is_alone:
        check_target(next(iter(entries)).target, overwrite=cfg.output.overwrite)

    from streamsr.display.progress import open_display

    _offer_weights(cfg)
    reports = ReportFile(cfg.output.report, is_list=not entries.is_alone)
    overwrite, debug = cfg.output.overwrite, cfg.run.debug
    with open_display(cfg.run.progress, sys.stdout, sys.stderr) as display:
        work = partial(_upscale, cfg, display)
        ctx.exit(work_through(entries, work, display, reports, overwrite=overwrite, debug=debug, done="upscaled"))


def _upscale(cfg: JobConfig, display: Display, source: Path, target: Path) -> Report:
    from pipelines.upscale import upscale_file

    return upscale_file(cfg, source, target, display)


cli.add_command(chunked)
cli.add_command(restream)
cli.add_command(preview)
cli.add_command(degrade)
cli.add_command(train)
cli.add_command(evaluate)
cli.add_command(prepare)


@cli.command(cls=ConfiguredCommand, table="none")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def doctor(ctx: click.Context, /, as_json: bool, preset: str | None, assignments: tuple[str, ...]) -> None:
    """What this machine has, and what a job would use and why."""
    from pipelines.doctor import examine
    from pipelines.options import job_config

    checkup = examine(job_config(preset, assignments))
    if as_json:
        click.echo(json.dumps(checkup.as_dict(), indent=2))
    else:
        for title, rows in checkup.sections():
            show_table(sys.stdout, title, (), rows)
    ctx.exit(0 if checkup.can_work else 1)


@cli.group(cls=VerbGroup, invoke_without_command=True)
@click.pass_context
def models(ctx: click.Context, /) -> None:
    """The networks: list them, look into a checkpoint, fetch one."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def list_models(as_json: bool) -> None:
    """Every model by name, and whether its weights are at hand."""
    from pipelines.models import COLUMNS, all_models

    rows = all_models()
    if as_json:
        click.echo(json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in rows], indent=2))
    else:
        show_table(sys.stdout, "Models", COLUMNS, rows)


@models.command("info")
@click.argument("name")
def model_info(name: str) -> None:
    """What a checkpoint holds, by NAME or by path: architecture, scale, size, hash."""
    from pipelines.models import model_facts

    show_table(sys.stdout, name, (), list(model_facts(name).items()))


@models.command("pull")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def pull_models(names: tuple[str, ...]) -> None:
    """Download official weights, resumed where a download broke off, checked by SHA-256."""
    for file in _pull(names):
        click.echo(str(file))


def _offer_weights(cfg: JobConfig) -> None:
    """On a terminal: asks whether weights that the job wants and that are not here shall be fetched."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    from pipelines.network import missing_weights

    names = missing_weights(cfg.upscale)
    if names and click.confirm(f"The weights of {', '.join(names)} are not on this machine. Fetch them now?", err=True):
        _pull(tuple(names))


def _pull(names: tuple[str, ...]) -> list[Path]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from pipelines.models import pull_model

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        return [pull_model(name, partial(_advance, bars, bars.add_task(name, total=None))) for name in names]


def _advance(bars: Progress, task: TaskID, done: int, total: int | None) -> None:
    bars.update(task, completed=done, total=total)


@cli.command(cls=ConfiguredCommand, table="bench")
@click.option(
    "--clip", type=click.Path(path_type=Path), metavar="FILE", help="Measure with this clip, not a drawn one."
)
@click.option(
    "--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Time for each measurement."
)
@click.option(
    "--chunked", "is_chunked", is_flag=True, help="What more workers gain, and what cutting and joining cost."
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def bench(
    clip: Path | None,
    seconds: float,
    is_chunked: bool,
    as_json: bool,
    preset: str | None,
    assignments: tuple[str, ...],
    **given: Any,
) -> None:
    """How fast this machine is, stage by stage."""
    from pipelines import bench, bench_chunks
    from pipelines.options import job_config

    cfg = job_config(preset, assignments, given)
    records = (bench_chunks if is_chunked else bench).run(cfg, clip, seconds, _tell)
    if as_json:
        click.echo(json.dumps(records, indent=2, default=str))
    elif records:
        columns = tuple(dict.fromkeys(key for record in records for key in record))
        rows = [tuple(str(record.get(key, "")) for key in columns) for record in records]
        show_table(sys.stdout, "Benchmarks", columns, rows)


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _guarded(call: Callable[[], Any], *, debug: bool) -> int:
    """The exit code of `call`; what it raises becomes one line on stderr."""
    try:
        return int(call() or 0)
    except BrokenPipeError:
        # The reader of our output left, as `| head` does. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        code, line = outcome_of(error)
        if debug and not isinstance(error, click.ClickException):
            click.echo(traceback.format_exc(), err=True)
        click.echo(f"error: {line}", err=True)
        return code


def main(args: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    # torch's threads and the encoder's share the cores: one that spins while it waits takes the other's time
    # (measured on two cores: 8 to 15 % of a whole job). Read when torch is loaded, so it is set before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character of a file's name shows its code instead.
            stream.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if args is None else args
    return _guarded(lambda: cli.main(args=words, standalone_mode=False), debug="--debug" in words)


def console() -> NoReturn:
    """The console script: a process that ends with the command line."""
    leave(main())


if __name__ == "__main__":
    console()
