"""The preview's window on a real X display, used with mouse and keys, seen by pictures of the screen."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.preview_job import Pair, PreviewStats
from pipelines.preview_window import NUM_SLOTS, PreviewWindow
from streamsr.display.window_worker import WindowSettings
from streamsr.errors import SourceError, StageFailed
from tests.live.screens import Screen
from tests.live.server_process import until
from tests.live.servers_devices import xvfb

RED, GREEN, BLUE = (254, 0, 0), (0, 255, 0), (0, 0, 254)
I420 = {RED: (81, 90, 240), GREEN: (145, 54, 34), BLUE: (41, 240, 110)}
TITLE, SIZE = "streamsr preview", (640, 360)
STATS = PreviewStats("live", "lite", "CPU", 4.0, (160, 90), (160, 90), SIZE, 24.0, 24.0, 40.0, 60.0, 30.0, 0)


def pair(original: tuple[int, int, int], upscaled: tuple[int, int, int]) -> Pair:
    picture = np.full((90, 160, 3), original, np.uint8)
    shapes = ((360, 640), (180, 320), (180, 320))
    planes = tuple(np.full(shape, value, np.uint8) for shape, value in zip(shapes, I420[upscaled], strict=True))
    return Pair(1, picture, planes, SIZE, 0.0, time.monotonic(), STATS)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    with xvfb(800, 600) as name:
        monkeypatch.setenv("DISPLAY", name)
        yield Screen(name)


@pytest.fixture
def window(screen: Screen, tmp_path: Path) -> Iterator[PreviewWindow]:
    with PreviewWindow(WindowSettings(TITLE, SIZE, str(tmp_path / "snapshots"), "waiting")) as window:
        screen.drawn_window(TITLE)
        yield window


def shown(window: PreviewWindow, screen: Screen, it: Pair, places: dict[tuple[int, int], tuple[int, int, int]]) -> None:
    window.show(it)
    for (x, y), color in places.items():
        screen.wait_for(x, y, color)


def test_original_left_upscaled_right_and_the_line_follows_the_mouse(window: PreviewWindow, screen: Screen) -> None:
    shown(window, screen, pair(RED, BLUE), {(250, 300): RED, (390, 300): BLUE})
    screen.do("mousemove", 320, 180, "mousedown", 1, "mousemove", 200, 180, "mousemove", 150, 180, "mouseup", 1)
    screen.wait_for(250, 300, BLUE)
    assert screen.shows(140, 300, RED)
    screen.do("mousemove", 500, 200)
    screen.do(*("key", "Right") * 8)
    screen.wait_for(200, 300, RED)
    assert screen.shows(290, 300, BLUE), "eight steps are not more"


def test_frozen_pictures_stay_and_slots_come_back(window: PreviewWindow, screen: Screen) -> None:
    shown(window, screen, pair(RED, BLUE), {(390, 300): BLUE})
    screen.do("key", "space")
    screen.wait_for(SIZE[0] - 20, 24, (255, 255, 255))
    for _ in range(3 * NUM_SLOTS):
        window.show(pair(GREEN, GREEN))
        until(lambda: window._slots.num_free == NUM_SLOTS, "all slots came back")
    assert window.dropped == 0
    assert screen.shows(390, 300, BLUE)
    screen.do("key", "space")
    until(lambda: not screen.shows(SIZE[0] - 20, 24, (255, 255, 255)), "the sign went")
    shown(window, screen, pair(GREEN, GREEN), {(390, 300): GREEN})


def test_keys_become_words_in_their_order(window: PreviewWindow, screen: Screen) -> None:
    assert window.asked(0.0) is None
    for key, word in (("m", "model"), ("plus", "larger"), ("minus", "smaller"), ("r", "record"), ("R", "record")):
        screen.do("key", key)
        assert window.asked(10.0) == word
    assert window.asked(0.1) is None


def test_snapshots_are_what_is_shown(window: PreviewWindow, screen: Screen, tmp_path: Path) -> None:
    shown(window, screen, pair(RED, BLUE), {(390, 300): BLUE})
    screen.do("key", "s")
    folder = tmp_path / "snapshots"
    until(lambda: folder.is_dir() and len(list(folder.glob("*-upscaled.png"))) == 1, "the snapshot")
    screen.do("mousemove", 300, 100)
    until(lambda: len(list(folder.iterdir())) == 2, "both halves")
    [upscaled] = folder.glob("*-upscaled.png")
    until(lambda: cv2.imread(str(upscaled)) is not None, "it is complete")
    picture = cv2.imread(str(upscaled))
    assert picture is not None
    assert picture.shape == (360, 640, 3)
    assert np.abs(picture.astype(int) - BLUE[::-1]).max() <= 3, "BT.601, limited range"


def test_lens_statistics_and_help_come_and_go(window: PreviewWindow, screen: Screen) -> None:
    shown(window, screen, pair(RED, BLUE), {(250, 300): RED})
    screen.do("mousemove", 600, 40)

    def changes(key: str) -> float:
        before = screen.picture()
        screen.do("key", key)
        until(lambda: bool((screen.picture() != before).any()), f"{key} changes something")
        return float((screen.picture() != before).any(2).mean())

    assert changes("i") < 0.2, "the statistics go"
    assert changes("h") > 0.01, "the help comes"
    changes("h")
    assert changes("z") > 0.05, "the lens comes"
    for _ in range(3):
        changes("z")
    changes("z")
    screen.wait_for(20, 250, RED)


def test_a_new_size_of_the_window_is_filled(window: PreviewWindow, screen: Screen) -> None:
    shown(window, screen, pair(RED, BLUE), {(390, 300): BLUE})
    screen.do("windowsize", screen.window(TITLE), 800, 450)
    screen.wait_for(780, 300, BLUE)
    assert screen.shows(20, 300, RED)


@pytest.mark.parametrize("how", ["q", "Escape", "button"])
def test_the_user_quits(window: PreviewWindow, screen: Screen, how: str) -> None:
    window.show(pair(RED, BLUE))
    if how == "button":
        screen.press_close(screen.window(TITLE))
    else:
        screen.do("key", how)
    assert window.asked(10.0) == "quit"
    assert window.error is None
    began = time.monotonic()
    window.close()
    assert time.monotonic() - began < 3
    window.show(pair(RED, BLUE))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_window_that_dies_is_a_word_not_a_hang(window: PreviewWindow, number: int) -> None:
    os.kill(window._child.pid, number)
    until(lambda: window.asked(0.1) == "quit", "the end is noticed")
    assert isinstance(window.error, StageFailed)
    assert "killed by SIG" in str(window.error)
    began = time.monotonic()
    for _ in range(10):
        window.show(pair(RED, BLUE))
        window.say("anybody there?")
    assert time.monotonic() - began < 1


def test_a_window_that_hangs_does_not_hold_up_the_job(window: PreviewWindow) -> None:
    os.kill(window._child.pid, signal.SIGSTOP)
    slowest = 0.0
    for _ in range(50):
        began = time.monotonic()
        window.show(pair(RED, BLUE))
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1
    assert window.dropped == 50 - NUM_SLOTS
    began = time.monotonic()
    window.close()
    assert time.monotonic() - began < 5


def test_the_window_answers_while_pictures_are_slow(window: PreviewWindow, screen: Screen) -> None:
    """Two pictures a second: the line follows the mouse at once all the same."""
    shown(window, screen, pair(RED, BLUE), {(390, 300): BLUE})
    screen.do("mousemove", 320, 180, "mousedown", 1)
    for x in (500, 200, 550):
        screen.do("mousemove", x, 180)
        screen.wait_for(x - 40, 250, RED)
        screen.wait_for(x + 40, 250, BLUE)
    screen.do("mouseup", 1)


def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)


def wrong_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")


@pytest.mark.parametrize("spoil", [no_display, wrong_display])
def test_without_a_display_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[pytest.MonkeyPatch], None]
) -> None:
    spoil(monkeypatch)
    with pytest.raises(SourceError, match=r"display.*--web") as caught:
        PreviewWindow(WindowSettings(TITLE, SIZE, ".", "waiting"))
    assert caught.value.exit_code == 3
    assert len(str(caught.value).splitlines()) == 1
