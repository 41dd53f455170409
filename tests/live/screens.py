"""Looking at an X display and using it as a person does: pictures of the screen, the mouse, keys, the close button."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time

import cv2
import numpy as np

from tests.live.server_process import needed, until

Rgb = tuple[int, int, int]


class _ClientMessage(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("room", ctypes.c_long * 16),
    )


class Screen:
    """The display `name`, as ":3"."""

    def __init__(self, name: str) -> None:
        needed("xdotool", "import")
        self.name = name
        self._env = {**os.environ, "DISPLAY": name}

    def picture(self) -> np.ndarray:
        """(H, W, 3) RGB of the whole screen."""
        done = subprocess.run(
            ["import", "-window", "root", "png:-"], env=self._env, capture_output=True, timeout=30, check=True
        )
        return np.asarray(cv2.imdecode(np.frombuffer(done.stdout, np.uint8), cv2.IMREAD_COLOR))[:, :, ::-1]

    def do(self, *words: str | int) -> str:
        """xdotool with these words; what it says."""
        command = ["xdotool", *map(str, words)]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout.strip()

    def window(self, title: str) -> int:
        """The window of this title, once it is there."""
        until(lambda: bool(self.do("search", "--name", title)), f"a window {title!r}")
        return int(self.do("search", "--name", title).splitlines()[0])

    def drawn_window(self, title: str) -> int:
        """The same, once something is drawn in it. On a display without a window manager Qt sometimes never hears that
        its new window can be seen; a manager would map it, and so is done here."""
        window = self.window(title)
        for _ in range(10):
            deadline = time.monotonic() + 1.5
            while time.monotonic() < deadline:
                if self.picture().any():
                    return window
            self.do("windowunmap", window, "windowmap", window)
        raise AssertionError(f"nothing is drawn in {title!r}")

    def shows(self, x: int, y: int, color: Rgb, tolerance: int = 40) -> bool:
        return bool(np.abs(self.picture()[y, x].astype(int) - color).max() <= tolerance)

    def wait_for(self, x: int, y: int, color: Rgb) -> None:
        until(lambda: self.shows(x, y, color), f"{color} at {x},{y}")

    def press_close(self, window: int) -> None:
        """What the close button of a window manager does: it asks the window to go."""
        x11 = ctypes.CDLL("libX11.so.6")
        x11.XOpenDisplay.restype = ctypes.c_void_p
        x11.XInternAtom.restype = ctypes.c_ulong
        x11.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        x11.XSendEvent.argtypes = [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
        x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
        display = x11.XOpenDisplay(self.name.encode())
        assert display, f"no display {self.name}"
        event = _ClientMessage(33, 0, 1, display, window, x11.XInternAtom(display, b"WM_PROTOCOLS", 0), 32)
        event.data[0] = x11.XInternAtom(display, b"WM_DELETE_WINDOW", 0)
        assert x11.XSendEvent(display, window, 0, 0, ctypes.byref(event))
        x11.XCloseDisplay(display)
