"""The verb `chunked`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.files import check_target, plan_files
from pipelines.queue_file import QueueFile
from pipelines.reports import ReportFile
from pipelines.several import Entries, Listed, work_through
from pipelines.verbs import ConfiguredCommand
from streamsr.errors import ConfigError

if TYPE_CHECKING:
    from streamsr.config import JobConfig
    from streamsr.display.workers import WorkersDisplay

EXAMPLES = """\b
Examples:
  streamsr chunked film.mkv film_4k.mkv
  streamsr chunked --plan-only film.mkv film_4k.mkv
  streamsr chunked --gpus 0,1,2,3 --chunk 30s film.mov film_4k.mov
  streamsr chunked --queue tonight.txt results/
  streamsr chunked --ray auto film.mkv film_4k.mkv

Like upscale, for long films: cut into chunks, on all GPUs or many machines. The same command again goes on where a job
was stopped or broke off. INPUT and OUTPUT as for upscale.
"""


@click.command(cls=ConfiguredCommand, table="chunked", epilog=EXAMPLES, options_metavar="[OPTIONS]")
@click.argument("paths", nargs=-1, metavar="INPUT... OUTPUT")
@click.option(
    "--queue", type=click.Path(path_type=Path), metavar="FILE", help="Files to work on, INPUT -> OUTPUT a line."
)
@click.option("--plan-only", is_flag=True, help="Show the chunks, and time and size estimated from a sample.")
@click.pass_context
def chunked(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    queue: Path | None,
    plan_only: bool,
    preset: str | None,
    assignments: tuple[str, ...],
    **given: Any,
) -> None:
    """Upscale long films in chunks: resumable, on all GPUs and many machines."""
    from pipelines.options import job_config

    cfg = job_config(preset, assignments, given)
    entries = _entries(paths, queue)
    if entries.is_alone and not plan_only:
        check_target(next(iter(entries)).target, overwrite=cfg.output.overwrite)
    if cfg.chunks.work_dir is not None and not entries.is_alone:
        remedy = "Leave it away: each target has its own beside it."
        raise ConfigError("several files cannot share one --work-dir", where=cfg.chunks.work_dir, remedy=remedy)
    reports = ReportFile(cfg.output.report, is_list=not entries.is_alone)

    from streamsr.display.workers import open_workers_display

    with open_workers_display(cfg.run.progress, sys.stdout, sys.stderr) as display:
        if plan_only:
            _show_plans(cfg, entries, display)
            return
        ctx.exit(
            work_through(
                entries,
                partial(_chunk, cfg, display),
                display,
                reports,
                overwrite=cfg.output.overwrite,
                debug=cfg.run.debug,
                done="upscaled",
            )
        )


def _entries(paths: tuple[str, ...], queue: Path | None) -> Entries:
    if queue is not None:
        if len(paths) > 1:
            raise ConfigError(
                "--queue takes no INPUT", remedy="Put it into the file; only a folder for OUTPUT may follow."
            )
        return QueueFile(queue, paths[0] if paths else None)
    if len(paths) < 2:
        missing = "OUTPUT" if paths else "INPUT and OUTPUT"
        raise ConfigError(f"{missing} missing", remedy="Write: streamsr chunked film.mkv film_4k.mkv")
    return Listed(plan_files(paths[:-1], paths[-1]))


def _chunk(cfg: JobConfig, display: WorkersDisplay, source: Path, target: Path) -> Any:
    from pipelines.chunked import chunk_file  # torch: only when there is something to do

    return chunk_file(cfg, source, target, display)


def _show_plans(cfg: JobConfig, entries: Entries, display: WorkersDisplay) -> None:
    from pipelines.chunk_plan import COLUMNS
    from pipelines.chunked import plan_file
    from streamsr.display.table import show_table

    for entry in entries:
        if entry.problem is not None:
            raise entry.problem
        rows, estimate = plan_file(cfg, entry.source, entry.target, display)
        show_table(sys.stdout, entry.source.name, COLUMNS, rows)
        show_table(sys.stdout, "Estimate", (), estimate)
