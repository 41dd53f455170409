"""What the preview window shows, as pure pictures."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamsr.display import window_view as view
from streamsr.display.snapshot import save_pair

BLUE, RED = (255, 0, 0), (0, 0, 255)
CANVAS = (640, 360)


def plain(color: tuple[int, int, int], size: tuple[int, int] = CANVAS) -> np.ndarray:
    return np.full((size[1], size[0], 3), color, np.uint8)


@pytest.mark.parametrize(
    ("picture", "canvas", "fit"),
    [
        ((320, 180), (640, 360), view.Fit(0, 0, 640, 360)),
        ((320, 180), (640, 400), view.Fit(0, 20, 640, 360)),
        ((90, 160), (640, 320), view.Fit(230, 0, 180, 320)),
        ((1, 4000), (10, 10), view.Fit(4, 0, 1, 10)),
    ],
)
def test_a_picture_fits_into_the_window(picture: tuple[int, int], canvas: tuple[int, int], fit: view.Fit) -> None:
    assert view.fitted(picture, canvas) == fit


def test_places_outside_the_picture_mean_its_border() -> None:
    fit = view.Fit(100, 0, 200, 100)
    assert fit.fraction((0, 50)) == (0.0, 0.5)
    assert fit.fraction((200, 50)) == (0.5, 0.5)
    assert fit.fraction((900, -5)) == (1.0, 0.0)


@pytest.mark.parametrize("split", [0.0, 0.25, 0.5, 1.0])
def test_the_line_parts_original_and_upscaled(split: float) -> None:
    fit = view.fitted(CANVAS, (640, 400))
    picture = view.side_by_side(plain(RED), plain(BLUE), fit, (640, 400), split)
    row = picture[60]
    at = round(split * 640)
    assert (row[: max(0, at - 1)] == RED).all()
    assert (row[at + 2 :] == BLUE).all()
    assert (picture[:20] == 0).all(), "outside the picture it is black"


def test_the_lens_shows_the_same_place_of_both_pictures() -> None:
    """A white square of the original lies where that of the upscaled picture lies, though it has four times the
    pixels."""
    original, upscaled = plain((0, 0, 0), (160, 90)), plain((0, 0, 0), (640, 360))
    original[40:50, 70:80] = 255
    upscaled[160:200, 280:320] = 255
    fit = view.fitted((640, 360), CANVAS)
    canvas = np.zeros((360, 640, 3), np.uint8)
    view.draw_lens(canvas, original, upscaled, (75 / 160, 45 / 90), 4, fit)
    side = max(16, min(640 // 3, 360 // 2) - 8)
    left = 640 - 2 * side - 6
    boxes = [canvas[-side - 4 : -4, x : x + side] for x in (left, left + side + 2)]
    middles = []
    for box in boxes:
        rows, columns = np.nonzero(box[4:-30, 4:-4, 0] > 128)
        assert rows.size > 1000, "the square is enlarged"
        middles.append((rows.mean(), columns.mean()))
    assert np.abs(np.array(middles[0]) - np.array(middles[1])).max() < 3


def test_a_lens_at_any_place_stays_in_the_picture() -> None:
    fit = view.fitted(CANVAS, CANVAS)
    for at in ((0.0, 0.0), (1.0, 1.0), (0.5, 0.0), (0.0, 1.0)):
        for zoom in view.LENSES[1:]:
            view.draw_lens(plain(RED), plain(RED), plain(BLUE), at, zoom, fit)


@pytest.mark.parametrize("size", [(1280, 720), (320, 180), (64, 64), (16, 9), (3840, 2160)])
def test_words_are_drawn_on_windows_of_any_size(size: tuple[int, int]) -> None:
    canvas = plain((90, 90, 90), size)
    view.draw_labels(canvas, "original 320x180", "lite 1280x720")
    view.draw_lines(canvas, ["lite on CPU, 4x", "24.0 of 24.0 pictures a second", "ümlaut ✓"])
    view.draw_help(canvas)
    view.draw_message(canvas, "snapshot: " + "long/" * 100)
    view.draw_marks(canvas, is_frozen=True, is_recording=True)
    assert canvas.shape == (size[1], size[0], 3)
    assert view.waiting(size, "waiting for camera:0 " * 20).shape == canvas.shape
    if min(size) > 60:
        assert (canvas > 200).any(), "there is something to read"


def test_lines_stay_inside_their_box() -> None:
    """The box darkens what is behind; no letter reaches beyond it."""
    canvas = plain((200, 200, 200), (1280, 720))
    before = canvas.copy()
    view.draw_lines(canvas, ["a line that is a good deal longer than the others, with g and y", "short"])
    rows, columns = np.nonzero((canvas != before).any(2))
    box = canvas[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    border = np.concatenate([box[0], box[-1], box[:, 0], box[:, -1]])
    assert (border == round(200 * view.SHADE)).all()


def test_help_names_every_key() -> None:
    named = " ".join(key for key, _ in view.KEYS)
    assert all(word in named.split() for word in ("z", "m", "+", "-", "space", "s", "r", "f", "i", "h", "q", "Esc"))


def test_snapshots_are_pairs_and_replace_nothing(tmp_path: Path) -> None:
    now = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    folder = tmp_path / "new" / "folder"
    paths = [save_pair(folder, plain(RED, (16, 8)), plain(color, (64, 32)), now) for color in (BLUE, RED)]
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "streamsr-20300102T030405Z-1-original.png",
        "streamsr-20300102T030405Z-1-upscaled.png",
        "streamsr-20300102T030405Z-original.png",
        "streamsr-20300102T030405Z-upscaled.png",
    ]
    assert np.array_equal(np.asarray(cv2.imread(str(paths[0]))), plain(BLUE, (64, 32)))
    first = cv2.imread(str(folder / "streamsr-20300102T030405Z-original.png"))
    assert np.array_equal(np.asarray(first), plain(RED, (16, 8)))


def test_a_snapshot_without_its_half_is_not_left(tmp_path: Path) -> None:
    now = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    (tmp_path / "streamsr-20300102T030405Z-upscaled.png").write_bytes(b"mine")
    save_pair(tmp_path, plain(RED, (16, 8)), plain(BLUE, (64, 32)), now)
    assert (tmp_path / "streamsr-20300102T030405Z-upscaled.png").read_bytes() == b"mine"
    assert not (tmp_path / "streamsr-20300102T030405Z-original.png").exists()
    assert (tmp_path / "streamsr-20300102T030405Z-1-original.png").exists()


def test_the_window_process_starts_without_av_and_torch() -> None:
    """Both wheels, av and cv2, carry libxcb: with both loaded, a window hangs."""
    code = (
        "import sys, streamsr.runtime.child_main, streamsr.display.window_worker;"
        "sys.exit(' '.join(set(sys.modules) & {'av', 'aiortc', 'torch', 'pydantic'}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
