"""The verb `restream`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.verbs import ConfiguredCommand
from streamsr.errors import ConfigError

if TYPE_CHECKING:
    from streamsr.config import RunConfig
    from streamsr.live_config import NamedStream, StatusConfig
    from streamsr.report import Watcher

EXAMPLES = """\b
Examples:
  streamsr restream rtsp://127.0.0.1:8554/live hls:out/
  streamsr restream 'rtsp://me:${PASSWORD}@10.0.0.5/1' rtmp://host/app/key
  streamsr restream camera:0 rtsp://127.0.0.1:8554/up record:rec/front.mp4
  streamsr restream --loop --adapt samples/parade.mp4 udp://239.0.0.1:5000
  streamsr restream --config cameras.toml --status-listen :9180

SOURCE: rtsp:// rtmp:// udp:// srt:// http:// (HLS too), camera:0, screen:, lavfi:GRAPH, or a file at its own pace.

TARGET, any number from one encoding: rtsp:// rtmp:// udp:// srt://, whip:URL, hls:FOLDER (also served, with a player
page: open http://127.0.0.1:8080/), record:FILE.mp4 (or .mkv, .ts; new files by the hour).

It runs until Ctrl-C or SIGTERM. When the source goes away the targets stay up with the last picture and silence, and it
is opened again and again. A --config file with [[stream]] names many streams; SIGHUP reads it again. ${NAME} in an
address is taken from the environment, which keeps passwords out of files and lists of processes. More: docs/live.md.
"""
NAME = "stream"
"""Of a stream from the command line."""


class LiveCommand(ConfiguredCommand):
    """A command with the options of pipelines/live_options.py, made at their first use."""

    def headings(self) -> dict[str, list[click.Option]]:
        if self._headings is None:
            from pipelines.live_options import restream_options

            self._headings = restream_options()
        return self._headings


@click.command(cls=LiveCommand, table="restream", epilog=EXAMPLES, options_metavar="[OPTIONS]")
@click.argument("addresses", nargs=-1, metavar="SOURCE TARGET...")
@click.pass_context
def restream(
    ctx: click.Context, /, addresses: tuple[str, ...], preset: str | None, assignments: tuple[str, ...], **given: Any
) -> None:
    """Upscale live streams: a camera in, 4K out, for weeks."""
    from streamsr.live.address import masked
    from streamsr.live.own_arguments import hide_arguments

    hide_arguments(lambda word: masked(word) if "://" in word else word)

    from pipelines.live_options import find_live_config, given_keys

    keys = given_keys(assignments, given)
    file = find_live_config(preset)
    streams, status, run, reload = _job(addresses, file, keys)

    from pipelines.restream import restream as run_streams  # torch: only when there is something to do

    failure = run_streams(streams, status, reload, _watcher(run))
    if failure is not None:
        raise failure
    ctx.exit(0)


def _job(
    addresses: tuple[str, ...], file: Path | None, keys: dict[str, Any]
) -> tuple[tuple[NamedStream, ...], StatusConfig, RunConfig, Callable[[], tuple[NamedStream, ...]] | None]:
    """The streams, what concerns the process, and the way to read the streams again."""
    from pipelines.streams_file import load_process, load_streams, names_streams, only_stream

    if file is not None and names_streams(file):
        if addresses:
            remedy = "Leave SOURCE and TARGET away, or --config."
            raise ConfigError("the config file names its own streams", where=str(file), remedy=remedy)
        process = load_process(file, keys)
        return load_streams(file, keys), process.status, process.run, lambda: load_streams(file, keys)
    if len(addresses) < 2:
        missing = "TARGET" if addresses else "SOURCE and TARGET"
        remedy = "Write: streamsr restream rtsp://camera/live hls:out/, or --config with a file that has [[stream]]."
        raise ConfigError(f"{missing} missing", remedy=remedy)
    stream, cfg = only_stream(NAME, addresses[0], addresses[1:], file, keys)
    return (stream,), cfg.status, cfg.run, None


def _watcher(run: RunConfig) -> Watcher:
    from streamsr.display.lines import Plain
    from streamsr.display.progress import open_display
    from streamsr.display.status_line import DatedLines

    if run.progress in ("json", "none"):
        return open_display(run.progress, sys.stdout, sys.stderr)
    is_dated_by_the_journal = "JOURNAL_STREAM" in os.environ
    return Plain(sys.stderr) if is_dated_by_the_journal else DatedLines(sys.stderr)
