"""The preview window as the job sees it: pairs go in, words of the user come out. The work is done by a process, see
streamsr/display/window_worker.py."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np

from pipelines.preview_job import Pair, PreviewStats
from streamsr.display.window_worker import WindowSettings, run_window
from streamsr.errors import SourceError, StageFailed, StreamSRError
from streamsr.runtime.child import Child
from streamsr.runtime.gate import Cancelled, Gate
from streamsr.runtime.slots import SlotRing

NUM_SLOTS = 3
MAX_PAIR_BYTES = 128 << 20
"""Of one slot: 8K and what it was made from. Memory is taken only where pictures are that large."""
OPEN_S, SEND_S, END_S = 20.0, 2.0, 1.5
REMEDY = "Watch in a browser instead, with --web, or set DISPLAY."


class PreviewWindow:
    """With-block. Raises SourceError when there is no display to show a window on. After that the window never fails
    the job: when its process dies, the next word is quit, and `error` says why."""

    def __init__(self, settings: WindowSettings) -> None:
        where = f"DISPLAY={os.environ.get('DISPLAY', '')}"
        if sys.platform == "linux" and not os.environ.get("DISPLAY"):
            raise SourceError("there is no display for a window", where=where, remedy=REMEDY)
        self.error: StreamSRError | None = None
        self.dropped = 0
        self._gate, self._sending = Gate(), threading.Lock()
        self._words: queue.Queue[str] = queue.Queue(64)
        self._slots = SlotRing(NUM_SLOTS, MAX_PAIR_BYTES, reserve=False)
        try:
            self._child = Child("window", run_window, (self._slots, settings), self._gate, {"QT_QPA_FONTDIR": _fonts()})
        except BaseException:
            self._slots.close()
            raise
        self._reader = threading.Thread(target=self._read, name="window", daemon=True)
        try:
            self._begin(where)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> PreviewWindow:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, pair: Pair) -> None:
        """From the job's thread. Never blocks: while the window is behind, pairs are left out and counted."""
        if self._gate.aborted:
            return
        if not self._slots.num_free:
            self.dropped += 1
            return
        height, width = pair.original.shape[:2]
        parts = (pair.original, *pair.upscaled)
        if sum(part.nbytes for part in parts) > MAX_PAIR_BYTES:
            self.say("this size is too large for the window; press -")
            return
        try:
            slot = self._slots.lease(self._gate, SEND_S)
        except Cancelled:
            return
        at, memory = 0, np.frombuffer(slot.memory, np.uint8)
        for part in parts:
            memory[at : at + part.nbytes].reshape(part.shape)[:] = part
            at += part.nbytes
        stats = pair.stats
        labels = (f"original {width}x{height}", f"{stats.model} {pair.size_out[0]}x{pair.size_out[1]}")
        lines = (*lines_of(stats), f"left out by the window {self.dropped}")
        self._tell(("pair", slot.index, (width, height), pair.size_out, labels, lines))

    def say(self, text: str) -> None:
        """One line, shown for some seconds."""
        self._tell(("say", text))

    def wait_for(self, text: str) -> None:
        """What the window says as long as there is no picture."""
        self._tell(("waiting", text))

    def set_recording(self, is_recording: bool) -> None:
        self._tell(("recording", is_recording))

    def asked(self, timeout_s: float) -> str | None:
        """What the user wants next: model, larger, smaller, record, quit; None when nothing was asked in that time."""
        try:
            return self._words.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Within END_S and a little. Can be called again."""
        self._gate.abort(Cancelled("the window was closed"))
        self._child.stop(END_S)
        if self._reader.is_alive():
            self._reader.join(END_S)
        self._slots.close()

    def _begin(self, where: str) -> None:
        try:
            kind, *values = self._child.recv(OPEN_S)
        except (EOFError, TimeoutError) as error:  # Qt ends the process when it cannot reach the display
            words = self._child.last_words().strip().splitlines()
            reason = next((line for line in words if "display" in line), str(error))
            raise SourceError(f"cannot open a window: {reason}", where=where, remedy=REMEDY) from error
        if kind != "ready":
            what = f"this OpenCV cannot show windows: {values[0]}"
            raise SourceError(what, remedy="Install opencv-python in place of opencv-python-headless, or take --web.")
        self._reader.start()

    def _read(self) -> None:
        has_quit = False
        while not has_quit:
            try:
                kind, *values = self._child.recv(0.5)
            except TimeoutError:
                continue
            except Cancelled:
                return
            except EOFError as error:
                if self._gate.aborted:
                    return
                self.error = StageFailed(f"the window is gone: {error}", stage="window")
                kind, values = "asked", ["quit"]
            if kind == "free":
                self._slots.give_back(values[0])
            elif kind == "asked":
                has_quit = values[0] == "quit"
                self._put_word(values[0])

    def _put_word(self, word: str) -> None:
        """Keys pressed faster than they are answered are forgotten, but never the end."""
        if word == "quit" and self._words.full():
            self._words.get_nowait()
        if not self._words.full():
            self._words.put_nowait(word)

    def _tell(self, message: tuple[Any, ...]) -> None:
        with self._sending:
            try:
                self._child.send(message, SEND_S)
            except (EOFError, TimeoutError, OSError, Cancelled):
                return  # a window that has gone is noticed by its reader


def lines_of(stats: PreviewStats) -> tuple[str, ...]:
    """The statistics for people."""
    sizes = " -> ".join(f"{width}x{height}" for width, height in (stats.size_in, stats.size_out))
    return (
        f"{stats.model} on {stats.device}, {stats.scale:g}x",
        sizes if stats.size_in == stats.size_source else f"{stats.size_source[0]}x{stats.size_source[1]} -> {sizes}",
        f"{stats.fps_out:.1f} of {stats.fps_in:.1f} pictures a second",
        f"latency {stats.latency_p50_ms:.0f} ms, 99 % below {stats.latency_p99_ms:.0f} ms",
        f"upscaling {stats.upscale_p50_ms:.0f} ms",
        f"dropped {stats.dropped}",
    )


def watching(window: PreviewWindow, notice: Callable[[str], None]) -> Callable[[str], None]:
    """A notice that goes to the terminal and into the window."""

    def both(text: str) -> None:
        notice(text)
        window.say(text)

    return both


def _fonts() -> str:
    """Qt complains for each window when the wheel's font folder is missing; a folder that exists keeps it quiet."""
    folder = "/usr/share/fonts/truetype/dejavu"
    return folder if os.path.isdir(folder) else ""
