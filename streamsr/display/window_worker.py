"""The process of the preview window. It imports cv2 and never av: the two wheels bring copies of libxcb that break each
other, and a window would hang.

Messages to it:   ("pair", slot, original size, upscaled size, labels, lines)   in the slot: RGB, then I420 (BT.601)
                  ("say", text) shown for a while; ("waiting", text) shown while there is no picture
                  ("recording", bool)
Messages from it: ("ready",) once the window is up; ("failed", text) when there can be none
                  ("free", slot) when a slot has been read
                  ("asked", word) for model, larger, smaller, record, quit
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from streamsr.display import window_view as view
from streamsr.display.snapshot import save_pair

POLL_MS = 12
"""A longest wait for keys: what the mouse does is seen 30 times a second and more."""
MESSAGE_S = 4.0
SNAPSHOT_PATIENCE_S = 1.5
KEY_ESCAPE = 27
LEFT, RIGHT = (65361, 2424832, 63234), (65363, 2555904, 63235)
"""Codes of the arrow keys under X11, Windows, macOS."""
ARROW_STEP = 0.02
SHARPER = 2
"""The canvas of a view that is enlarged has so many pixels more per side."""
ASKED = {"m": "model", "+": "larger", "=": "larger", "-": "smaller", "_": "smaller", "r": "record"}


class Memory(Protocol):
    """Shared memory in slots, as `runtime.slots.MappedSlots`."""

    def memory(self, index: int) -> memoryview: ...


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """`size`: (width, height) of the window at first. `folder`: for snapshots. `waiting`: what to show first."""

    title: str
    size: tuple[int, int]
    folder: str
    waiting: str


@dataclass(frozen=True, slots=True)
class Controls:
    """What keys and mouse have set. `lens`: an index of LENSES. `at`: the mouse, as a fraction of the picture.
    `enlarged`: what the mouse wheel has done to the whole view (OpenCV's Qt windows do that by themselves)."""

    split: float = 0.5
    lens: int = 0
    at: tuple[float, float] = (0.5, 0.5)
    has_lines: bool = True
    has_help: bool = False
    is_fullscreen: bool = False
    is_frozen: bool = False
    is_dragging: bool = False
    enlarged: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """The pair on the screen, in the order B, G, R."""

    original: np.ndarray
    upscaled: np.ndarray
    labels: tuple[str, str]
    lines: tuple[str, ...]


def run_window(connection: Connection[Any, Any], slots: Memory, settings: WindowSettings) -> None:
    """Body of the process: until the user quits or the pipe is closed."""
    cv2.setNumThreads(2)  # the cores belong to the network
    try:
        window = PreviewWindow(slots, settings, connection.send)
    except cv2.error as error:
        connection.send(("failed", " ".join(str(error).split())))
        return
    connection.send(("ready",))
    try:
        while not window.is_closed:
            messages = []
            while connection.poll():
                messages.append(connection.recv())
            window.receive(messages)
            window.turn()
    except (EOFError, OSError):  # the parent has closed the pipe
        pass
    finally:
        window.close()


class PreviewWindow:
    """One window on one thread. `send` takes the messages to the parent."""

    def __init__(self, slots: Memory, settings: WindowSettings, send: Callable[[Any], None]) -> None:
        self._slots, self._settings, self._send = slots, settings, send
        self._title = settings.title
        self._controls = Controls()
        self._shown: Shown | None = None
        self._waiting = settings.waiting
        self._is_recording = False
        self._message: tuple[str, float] | None = None
        self._saving: threading.Thread | None = None
        self._size = settings.size
        self._fitted: tuple[Shown, view.Fit, np.ndarray, np.ndarray] | None = None
        self._is_stale = True
        self.is_closed = False
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
        cv2.resizeWindow(self._title, *self._size)
        cv2.setMouseCallback(self._title, self._mouse)
        self.turn()

    def receive(self, messages: list[tuple[Any, ...]]) -> None:
        """Of several pairs only the newest is shown; all slots are given back."""
        pairs = [message for message in messages if message[0] == "pair"]
        for message in messages:
            match message:
                case ("say", text):
                    self._say(text)
                case ("waiting", text):
                    self._waiting, self._is_stale = text, True
                case ("recording", is_recording):
                    self._is_recording, self._is_stale = is_recording, True
        if pairs and not self._controls.is_frozen:
            self._take(*pairs[-1][1:])
        for pair in pairs:
            self._send(("free", pair[1]))

    def turn(self) -> None:
        """Draws what has changed, and lets keys and mouse speak."""
        self._notice_size()
        if self._message is not None and time.monotonic() > self._message[1]:
            self._message, self._is_stale = None, True
        if self._is_stale:
            self._is_stale = False
            cv2.imshow(self._title, self._drawn())
        key = cv2.waitKeyEx(POLL_MS)
        if key != -1:
            self._press(key)
        if not self._is_there():
            self._quit()

    def _is_there(self) -> bool:
        """False once the user has closed the window."""
        try:
            return bool(cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1)
        except cv2.error:
            return False

    def close(self) -> None:
        """A snapshot under way is waited for, a little."""
        if self._saving is not None:
            self._saving.join(SNAPSHOT_PATIENCE_S)
        cv2.destroyAllWindows()

    def _take(
        self, slot: int, original: view.Size, upscaled: view.Size, labels: tuple[str, str], lines: tuple[str, ...]
    ) -> None:
        memory = self._slots.memory(slot)
        (width, height), (out_width, out_height) = original, upscaled
        rgb = np.frombuffer(memory, np.uint8, 3 * width * height).reshape(height, width, 3)
        i420 = np.frombuffer(memory, np.uint8, out_width * out_height * 3 // 2, rgb.nbytes)
        bgr = cv2.cvtColor(i420.reshape(out_height * 3 // 2, out_width), cv2.COLOR_YUV2BGR_I420)
        self._shown = Shown(rgb[:, :, ::-1].copy(), np.asarray(bgr), labels, lines)
        self._is_stale = True

    def _drawn(self) -> np.ndarray:
        shown, controls = self._shown, self._controls
        if shown is None:
            canvas = view.waiting(self._canvas_size, self._waiting)
        else:
            fit, original, upscaled = self._fit(shown)
            canvas = view.side_by_side(original, upscaled, fit, self._canvas_size, controls.split)
            view.draw_labels(canvas, *shown.labels)
            if controls.lens:
                zoom = view.LENSES[controls.lens]
                view.draw_lens(canvas, shown.original, shown.upscaled, controls.at, zoom, fit)
            if controls.has_lines:
                view.draw_lines(canvas, shown.lines)
        if controls.has_help:
            view.draw_help(canvas)
        if self._message is not None:
            view.draw_message(canvas, self._message[0])
        view.draw_marks(canvas, is_frozen=controls.is_frozen, is_recording=self._is_recording)
        return canvas

    @property
    def _canvas_size(self) -> view.Size:
        factor = SHARPER if self._controls.enlarged > 1.0 else 1
        return self._size[0] * factor, self._size[1] * factor

    def _fit(self, shown: Shown) -> tuple[view.Fit, np.ndarray, np.ndarray]:
        """Both pictures in the window's size; made once for all that the mouse does meanwhile."""
        fit = view.fitted(_size_of(shown.upscaled), self._canvas_size)
        if self._fitted is None or self._fitted[0] is not shown or self._fitted[1] != fit:
            size = fit.width, fit.height
            self._fitted = shown, fit, view.scaled(shown.original, size), view.scaled(shown.upscaled, size)
        return self._fitted[1:]

    def _notice_size(self) -> None:
        _, _, width, height = cv2.getWindowImageRect(self._title)
        if min(width, height) > 1 and (width, height) != self._size:
            self._size, self._is_stale = (width, height), True

    def _press(self, key: int) -> None:
        code = key & 0xFFFF
        letter = chr(code).lower() if code < 128 else ""
        controls = self._controls
        if letter == "q" or code == KEY_ESCAPE:
            self._quit()
        elif letter in ASKED:
            self._send(("asked", ASKED[letter]))
        elif letter == "s":
            self._snapshot()
        elif letter == "f":
            self._set(is_fullscreen=not controls.is_fullscreen)
            way = cv2.WINDOW_FULLSCREEN if self._controls.is_fullscreen else cv2.WINDOW_NORMAL
            cv2.setWindowProperty(self._title, cv2.WND_PROP_FULLSCREEN, way)
        elif letter == " ":
            self._set(is_frozen=not controls.is_frozen)
        elif letter == "z":
            self._set(lens=(controls.lens + 1) % len(view.LENSES))
        elif key in (*LEFT, *RIGHT):
            step = ARROW_STEP if key in RIGHT else -ARROW_STEP
            self._set(split=min(1.0, max(0.0, controls.split + step)))
        elif letter == "i":
            self._set(has_lines=not controls.has_lines)
        elif letter == "h":
            self._set(has_help=not controls.has_help)

    def _mouse(self, event: int, x: int, y: int, flags: int, _: object) -> None:
        shown = self._shown
        if shown is None:
            return
        if event == cv2.EVENT_MOUSEWHEEL:
            self._set(enlarged=_enlarged(self._controls.enlarged, flags))
            return
        self._set(at=view.fitted(_size_of(shown.upscaled), self._canvas_size).fraction((x, y)))
        if event == cv2.EVENT_LBUTTONDOWN:
            self._set(is_dragging=self._controls.enlarged == 1.0)
        if self._controls.is_dragging:
            self._set(split=self._controls.at[0])
        if event == cv2.EVENT_LBUTTONUP:
            self._set(is_dragging=False)

    def _set(self, **changes: Any) -> None:
        self._controls, self._is_stale = replace(self._controls, **changes), True

    def _say(self, text: str) -> None:
        self._message, self._is_stale = (text, time.monotonic() + MESSAGE_S), True

    def _snapshot(self) -> None:
        shown = self._shown
        if shown is None or (self._saving is not None and self._saving.is_alive()):
            self._say("there is no picture yet" if shown is None else "the last snapshot is still being written")
            return
        self._saving = threading.Thread(target=self._save, args=(shown,), name="snapshot", daemon=True)
        self._saving.start()

    def _save(self, shown: Shown) -> None:
        try:
            path = save_pair(Path(self._settings.folder), shown.original, shown.upscaled)
        except OSError as error:
            self._say(f"no snapshot: {error.strerror or error} ({self._settings.folder})")
        else:
            self._say(f"snapshot: {path}")

    def _quit(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._send(("asked", "quit"))


def _size_of(picture: np.ndarray) -> view.Size:
    return picture.shape[1], picture.shape[0]


def _enlarged(before: float, flags: int) -> float:
    """How much the view is enlarged after a turn of the wheel, by the arithmetic of OpenCV's Qt window."""
    turn = flags >> 16
    turn -= (turn & 0x8000) << 1
    if not cv2.currentUIFramework().startswith("QT"):
        return 1.0
    return min(100.0, max(1.0, before * (1 + turn / 1200)))
