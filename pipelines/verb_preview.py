"""The verb `preview`. Light at the top: torch, av and pydantic are imported when it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

EXAMPLES = """\b
Examples:
  streamsr preview
  streamsr preview camera:1 --size 640x360 --rate 30
  streamsr preview rtsp://127.0.0.1:8554/live --model animevideov3
  streamsr preview film.mkv --loop --scale 2 --record seen.mp4
  streamsr preview --web
  streamsr preview rtsp://127.0.0.1:8554/live --web --listen 0.0.0.0:8090

SOURCE: camera:0 (the default in a window), or whatever `restream` takes. With --web the page shows the camera of
whoever opens it, and SOURCE where one is given.

In the window: drag the line between original and upscaled; h shows all keys. On a CPU, without --scale and --to, the
pictures are made as small as lite needs to keep up; a line says so.
"""
LISTEN = "127.0.0.1:8090"


@click.command("preview", epilog=EXAMPLES)
@click.argument("source", required=False)
@click.option("--model", "-n", metavar="NAME|PATH", help="Name of a model (see `models list`) or path of a checkpoint.")
@click.option("--to", metavar="SIZE", help="Output box: 4k, 1080p, 720p or WxH.")
@click.option("--scale", "-s", type=click.FloatRange(0, 16, min_open=True), metavar="FACTOR", help="Output over input.")
@click.option("--device", "-g", metavar="DEVICE", help="auto, cpu, mps, cuda, or cuda:1.")
@click.option("--precision", type=click.Choice(("auto", "fp32", "fp16", "bf16")), help="Arithmetic of the network.")
@click.option("--size", metavar="SIZE", help="Size to ask a camera or a screen for, as 1280x720.")
@click.option(
    "--rate", type=click.FloatRange(0, 240, min_open=True), metavar="FPS", help="Pictures a second, likewise."
)
@click.option("--transport", type=click.Choice(("auto", "tcp", "udp")), help="How RTSP brings its packets.")
@click.option("--loop", is_flag=True, help="Begin a file again at its end.")
@click.option("--snapshots", metavar="FOLDER", default=".", show_default=True, help="Where the keys s and r write to.")
@click.option("--record", metavar="FILE", help="Record from the first picture on; the time goes into the name.")
@click.option("--web", is_flag=True, help="Show it in a browser, for a machine without a screen.")
@click.option("--listen", metavar="HOST:PORT", default=LISTEN, show_default=True, help="Where --web serves its page.")
@click.option("--token", metavar="WORD", help="What a viewer of --web must know; made up beyond this machine.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def preview(
    ctx: click.Context,
    /,
    source: str | None,
    snapshots: str,
    record: str | None,
    web: bool,
    listen: str,
    token: str | None,
    debug: bool,
    **given: object,
) -> None:
    """A camera or a stream, before and after upscaling, in a window or a browser."""
    del debug  # run_stream.py looks for it among the words
    from streamsr.live.address import masked, parse_source
    from streamsr.live.own_arguments import hide_arguments

    hide_arguments(lambda word: "*" * len(word) if word == token else masked(word) if "://" in word else word)

    from pipelines.preview_options import preview_config
    from streamsr.display.lines import Plain

    cfg = preview_config(given)
    address = parse_source(source or "camera:0") if source or not web else None
    watcher = Plain(sys.stderr)
    if web:
        from pipelines.preview_web import preview_web

        ctx.exit(preview_web(cfg, address, listen, token, watcher))

    from pipelines.preview import PreviewPlaces
    from pipelines.preview import preview as preview_in_window

    places = PreviewPlaces(Path(snapshots).expanduser(), Path(record).expanduser() if record is not None else None)
    assert address is not None, "a window has a source"
    ctx.exit(preview_in_window(cfg, address, places, watcher))
