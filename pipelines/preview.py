"""A source before and after upscaling, in a window: the wiring of job, window and recorder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipelines.preview_job import Pair, PreviewConfig, PreviewJob
from pipelines.preview_record import PreviewRecorder
from pipelines.preview_window import PreviewWindow, watching
from streamsr.display.window_worker import WindowSettings
from streamsr.live.address import SourceAddress
from streamsr.report import Watcher
from streamsr.runtime.allocator import keep_freed_memory
from streamsr.runtime.interrupt import interrupts

TITLE = "streamsr preview"
WINDOW_SIZE = (1280, 720)
WAIT_S = 0.1
RECORDING = "streamsr.mp4"


@dataclass(frozen=True, slots=True)
class PreviewPlaces:
    """`record`: where to record from the first picture on; None: into `snapshots`, when the key is pressed."""

    snapshots: Path
    record: Path | None = None


def preview(cfg: PreviewConfig, source: SourceAddress, places: PreviewPlaces, watcher: Watcher) -> int:
    """Runs until the window is closed, or Ctrl-C; the exit code. Raises StreamSRError for what cannot be, or broke: no
    display, no camera, no such model."""
    keep_freed_memory()
    settings = WindowSettings(TITLE, WINDOW_SIZE, str(places.snapshots), f"waiting for {source.masked}")
    over, ended = threading.Event(), threading.Event()
    with ExitStack() as stack:
        window = stack.enter_context(PreviewWindow(settings))
        notice = watching(window, watcher.notice)
        path = places.record or places.snapshots / RECORDING
        recorder = PreviewRecorder(path, notice, window.set_recording)
        if places.record is not None:
            recorder.check()
            recorder.toggle()

        def show(pair: Pair) -> None:
            window.show(pair)
            recorder.put(pair)

        job = PreviewJob(source, cfg, show, notice, ended.set)
        stack.callback(_together, window.close, job.close, recorder.close)
        with interrupts(first=over.set, second=over.set):
            job.start()
            _obey(window, job, recorder, over, ended)
    error = job.error or window.error
    if error is not None:
        raise error
    return 0


def _obey(
    window: PreviewWindow, job: PreviewJob, recorder: PreviewRecorder, over: threading.Event, ended: threading.Event
) -> None:
    """Until the user quits or the job fails. After the end of a file the last picture stays."""
    words: dict[str, Callable[[], None]] = {
        "model": partial(_next_model, job),
        "larger": partial(_step_scale, job, +1),
        "smaller": partial(_step_scale, job, -1),
        "record": recorder.toggle,
    }
    while not over.is_set():
        word = window.asked(WAIT_S)
        if word == "quit":
            return
        if word is not None:
            words[word]()
        if ended.is_set():
            if job.error is not None:
                return
            ended.clear()
            window.wait_for("the source has ended before there was a picture")
            window.say("the source has ended; q quits")


def _next_model(job: PreviewJob) -> None:
    models, now = job.models, job.stats().model
    job.set_model(models[(models.index(now) + 1) % len(models)] if now in models else models[0])


def _step_scale(job: PreviewJob, step: int) -> None:
    """The next larger or smaller one of the factors, from whatever it is now."""
    now = job.stats().scale
    if not now:
        return
    larger = [factor for factor in job.scales if factor > now + 0.01]
    smaller = [factor for factor in job.scales if factor < now - 0.01]
    if step > 0 and larger:
        job.set_scale(larger[0])
    elif step < 0 and smaller:
        job.set_scale(smaller[-1])


def _together(*closers: Callable[[], None]) -> None:
    """All at the same time: a user who has quit wants to be gone."""
    threads = [threading.Thread(target=close, name="preview.close") for close in closers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
