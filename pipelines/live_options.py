"""The options of `restream` as a table: each sets a key of streamsr/live_config.py and takes its help from there."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from pipelines.options import Option, checked, device, under_headings
from pipelines.presets import find_config, preset_names
from streamsr.config import Precision, choices, load_as, parse_size
from streamsr.live_config import RestreamConfig, parse_bitrate, parse_seconds

FOLDER = "live"
"""Of configs/, where the presets of live jobs lie."""
LiveOption = partial(Option, config=RestreamConfig)

_TIME, _SIZE, _BITS = checked(parse_seconds), checked(parse_size), checked(parse_bitrate)

RESTREAM = (
    LiveOption("Picture", ("--model", "-n"), "upscale.model", metavar="NAME|PATH"),
    LiveOption("Picture", ("--to",), "upscale.to", _SIZE, "SIZE"),
    LiveOption("Picture", ("--scale", "-s"), "upscale.scale", click.FloatRange(0, 16, min_open=True), "FACTOR"),
    LiveOption("Source", ("--transport",), "ingest.transport", click.Choice(("auto", "tcp", "udp"))),
    LiveOption("Source", ("--stall",), "ingest.stall_s", _TIME, "TIME"),
    LiveOption("Source", ("--retry",), "ingest.retry", metavar="HOW"),
    LiveOption("Source", ("--loop",), "ingest.loop", is_switch=True),
    LiveOption("Source", ("--slate",), "policy.slate", metavar="TEXT"),
    LiveOption("Under load", ("--drop",), "policy.drop", click.Choice(("newest-wins", "wait"))),
    LiveOption("Under load", ("--stale",), "policy.stale_s", _TIME, "TIME"),
    LiveOption("Under load", ("--adapt",), "policy.adapt", is_switch=True),
    LiveOption("Encoding", ("--codec",), "encode.codec", click.Choice(("h264", "hevc"))),
    LiveOption("Encoding", ("--encoder",), "encode.encoder", metavar="NAME"),
    LiveOption("Encoding", ("--bitrate",), "encode.bitrate", _BITS, "BITS"),
    LiveOption("Encoding", ("--gop",), "encode.gop_s", _TIME, "TIME"),
    LiveOption("Targets", ("--audio",), "publish.audio", click.Choice(("copy", "transcode", "none"))),
    LiveOption("Targets", ("--listen",), "publish.listen", metavar="HOST:PORT"),
    LiveOption("Targets", ("--segment",), "publish.segment_s", _TIME, "TIME"),
    LiveOption("Targets", ("--rotate",), "publish.rotate_s", _TIME, "TIME"),
    LiveOption("Speed and memory", ("--device", "-g"), "upscale.device", device, "DEVICE"),
    LiveOption("Speed and memory", ("--precision",), "upscale.precision", click.Choice(choices(Precision))),
    LiveOption("Status", ("--interval",), "status.interval_s", _TIME, "TIME"),
    LiveOption("Status", ("--status-file",), "status.file", metavar="FILE.json"),
    LiveOption("Status", ("--status-listen",), "status.listen", metavar="HOST:PORT"),
    LiveOption("Job", ("--debug",), "run.debug", is_switch=True),
)


def restream_options() -> dict[str, list[click.Option]]:
    """Heading -> options of RESTREAM, and `--config` and `--set`: see pipelines.options.under_headings."""
    return under_headings(RESTREAM, preset_names(FOLDER), "ingest.open_timeout_s=20")


def find_live_config(name: str | None) -> Path | None:
    """The file meant by `--config`: a preset of configs/live, or a file. Raises ConfigError."""
    return find_config(name, FOLDER)


def given_keys(assignments: tuple[str, ...], given: dict[str, Any]) -> dict[str, Any]:
    """What `--set` and the options say, checked, as values by "section.key". Raises ConfigError."""
    options = {name.replace("__", "."): value for name, value in given.items()}
    cfg = load_as(RestreamConfig, None, assignments, options)
    sections = cfg.model_dump(exclude_unset=True)
    return {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}
