"""What the preview window shows, drawn into one picture. Pure functions of numpy arrays and small values: no window, no
state. Pictures are (H, W, 3) uint8 in OpenCV's order B, G, R; places and sizes are (x, y) and (width, height) in
pixels of the canvas; `split` and `at` are fractions of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE, GRAY, YELLOW, RED = (255, 255, 255), (170, 170, 170), (60, 220, 255), (60, 60, 235)
SHADE = 0.45
"""What remains of the picture's light behind text."""
LENSES = (0, 2, 4, 8, 16)
"""How much the lens enlarges, one key press after the other; 0: no lens."""
KEYS = (
    ("mouse, arrows", "move the line between original and upscaled"),
    ("z", "lens at the mouse: 2x, 4x, 8x, 16x, off"),
    ("wheel", "enlarge the whole view; dragging then moves it"),
    ("m", "next model"),
    ("+ -", "larger, smaller"),
    ("space", "freeze"),
    ("s", "snapshot: two PNG files"),
    ("r", "record: start, stop"),
    ("f", "full screen"),
    ("i", "statistics"),
    ("h", "this help"),
    ("q Esc", "quit"),
)

Size = tuple[int, int]
Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Fit:
    """Where a picture lies on a canvas: as large as fits, centred."""

    left: int
    top: int
    width: int
    height: int

    def fraction(self, place: tuple[int, int]) -> tuple[float, float]:
        """The point of the picture under `place`, clamped to the picture."""
        across, down = (place[0] - self.left) / self.width, (place[1] - self.top) / self.height
        return min(1.0, max(0.0, across)), min(1.0, max(0.0, down))


def fitted(picture: Size, canvas: Size) -> Fit:
    """Sizes are at least one pixel."""
    factor = min(canvas[0] / picture[0], canvas[1] / picture[1])
    width, height = (max(1, min(side, round(length * factor))) for side, length in zip(canvas, picture, strict=True))
    return Fit((canvas[0] - width) // 2, (canvas[1] - height) // 2, width, height)


def scaled(picture: np.ndarray, size: Size) -> np.ndarray:
    """The picture in this size as an ordinary player would show it: cubic up, averaged down."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    way = cv2.INTER_AREA if size[0] <= width and size[1] <= height else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=way))


def side_by_side(original: np.ndarray, upscaled: np.ndarray, fit: Fit, canvas: Size, split: float) -> np.ndarray:
    """A new canvas: the original left of the line, the upscaled picture right of it. Both are `fit` large."""
    picture = np.zeros((canvas[1], canvas[0], 3), np.uint8)
    inside = picture[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width]
    at = round(split * fit.width)
    inside[:, :at], inside[:, at:] = original[:, :at], upscaled[:, at:]
    x, middle = fit.left + min(at, fit.width - 1), fit.top + fit.height // 2
    cv2.line(picture, (x, fit.top), (x, fit.top + fit.height - 1), WHITE, 1)
    cv2.circle(picture, (x, middle), 9, WHITE, 2, cv2.LINE_AA)
    return picture


def draw_lens(
    canvas: np.ndarray, original: np.ndarray, upscaled: np.ndarray, at: tuple[float, float], zoom: int, fit: Fit
) -> None:
    """Two boxes side by side with the same detail around `at`, left as it was and right as it became, `zoom` times as
    large as on the canvas. They lie where they do not hide that place."""
    height, width = canvas.shape[:2]
    side = max(16, min(width // 3, height // 2) - 8)
    boxes = [_detail(picture, at, side, zoom, fit) for picture in (original, upscaled)]
    x = fit.left + round(at[0] * fit.width)
    left = 4 if x > width // 2 else max(0, width - 2 * side - 6)
    y = fit.top + round(at[1] * fit.height)
    top = 4 if y > height // 2 else max(0, height - side - 4)
    for number, box in enumerate(boxes):
        x0 = left + number * (side + 2)
        part = canvas[top : top + side, x0 : x0 + side]
        part[:] = box[: part.shape[0], : part.shape[1]]
        cv2.rectangle(canvas, (x0, top), (x0 + side - 1, top + side - 1), WHITE, 1)
    half = max(2, round(side / zoom / 2))
    cv2.rectangle(canvas, (x - half, y - half), (x + half, y + half), YELLOW, 1)
    _line(canvas, f"{zoom}x", (left + 6, top + side - 8), YELLOW, _font_scale(canvas))


def _detail(picture: np.ndarray, at: tuple[float, float], side: int, zoom: int, fit: Fit) -> np.ndarray:
    """`side` x `side` pixels around `at`; repeats the border outside the picture. Sampled between the pixels, so that
    pictures of different sizes show exactly the same place."""
    height, width = picture.shape[:2]
    step_x, step_y = width / (fit.width * zoom), height / (fit.height * zoom)
    first_x = at[0] * width - step_x * side / 2 + step_x / 2 - 0.5
    first_y = at[1] * height - step_y * side / 2 + step_y / 2 - 0.5
    matrix = np.array([[step_x, 0, first_x], [0, step_y, first_y]])
    way = cv2.INTER_NEAREST if max(step_x, step_y) < 0.125 else cv2.INTER_LINEAR
    flags = way | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE))


def draw_labels(canvas: np.ndarray, left: str, right: str) -> None:
    """What the two sides are, in the lower corners."""
    size = _font_scale(canvas)
    height, width = canvas.shape[:2]
    for text, is_right in ((left, False), (right, True)):
        (text_width, text_height), _ = cv2.getTextSize(text, FONT, size, 1)
        x = width - text_width - 12 if is_right else 12
        _shade(canvas, (x - 6, height - text_height - 18), (text_width + 12, text_height + 16))
        _line(canvas, text, (x, height - 10), WHITE, size)


def draw_lines(canvas: np.ndarray, lines: Sequence[str]) -> None:
    """Statistics, one below the other, in the upper left corner."""
    _box(canvas, [("", line) for line in lines], (8, 8), WHITE)


def draw_help(canvas: np.ndarray) -> None:
    """All keys, in the middle."""
    width, height = _box_size(canvas, KEYS)
    place = max(0, (canvas.shape[1] - width) // 2), max(0, (canvas.shape[0] - height) // 2)
    _box(canvas, KEYS, place, WHITE)


def draw_message(canvas: np.ndarray, text: str) -> None:
    """One line at the lower border, cut to what fits."""
    size = _font_scale(canvas)
    height, width = canvas.shape[:2]
    text = plain(text)
    while text and cv2.getTextSize(text, FONT, size, 1)[0][0] > width - 24:
        text = text[:-1]
    (text_width, text_height), _ = cv2.getTextSize(text, FONT, size, 1)
    x, y = (width - text_width) // 2, height - 3 * text_height - 24
    _shade(canvas, (x - 8, y - text_height - 8), (text_width + 16, text_height + 18))
    _line(canvas, text, (x, y), YELLOW, size)


def draw_marks(canvas: np.ndarray, *, is_frozen: bool, is_recording: bool) -> None:
    """Signs in the upper right corner: two bars while the picture stands still, a red point while it is recorded."""
    x = canvas.shape[1] - 24
    if is_recording:
        cv2.circle(canvas, (x, 24), 9, RED, cv2.FILLED, cv2.LINE_AA)
        cv2.circle(canvas, (x, 24), 9, WHITE, 1, cv2.LINE_AA)
        x -= 32
    if is_frozen:
        for bar in (x - 8, x + 2):
            cv2.rectangle(canvas, (bar, 15), (bar + 5, 33), WHITE, cv2.FILLED)


def waiting(canvas: Size, text: str) -> np.ndarray:
    """A dark canvas with one line in its middle, for as long as there is no picture."""
    picture = np.full((canvas[1], canvas[0], 3), 24, np.uint8)
    text, size = plain(text), _font_scale(picture)
    while text and cv2.getTextSize(text, FONT, size, 1)[0][0] > canvas[0] - 24:
        text = text[:-1]
    (width, height), _ = cv2.getTextSize(text, FONT, size, 1)
    _line(picture, text, ((canvas[0] - width) // 2, (canvas[1] + height) // 2), GRAY, size)
    return picture


def plain(text: str) -> str:
    """Text in the characters that OpenCV can draw."""
    return text.encode("ascii", "replace").decode("ascii")


def _font_scale(canvas: np.ndarray) -> float:
    """Readable on a small window and not huge on a 4K screen."""
    return float(min(1.6, max(0.42, min(canvas.shape[0] / 1100, canvas.shape[1] / 1700))))


def _box_size(canvas: np.ndarray, rows: Sequence[tuple[str, str]]) -> Size:
    size = _font_scale(canvas)
    widths = [cv2.getTextSize(plain(text), FONT, size, 1)[0][0] for _, text in rows]
    return max(widths, default=0) + _tab(rows, size) + 20, _line_height(size) * len(rows) + 16


def _box(canvas: np.ndarray, rows: Sequence[tuple[str, str]], place: tuple[int, int], color: Color) -> None:
    size = _font_scale(canvas)
    tab = _tab(rows, size)
    _shade(canvas, place, _box_size(canvas, rows))
    for number, (key, text) in enumerate(rows, start=1):
        y = place[1] + number * _line_height(size)
        _line(canvas, key, (place[0] + 10, y), YELLOW, size)
        _line(canvas, text, (place[0] + 10 + tab, y), color, size)


def _tab(rows: Sequence[tuple[str, str]], size: float) -> int:
    widest = max((cv2.getTextSize(plain(key), FONT, size, 1)[0][0] for key, _ in rows if key), default=0)
    return widest + round(24 * size) + 4 if widest else 0


def _line_height(size: float) -> int:
    return round(34 * size) + 4


def _shade(canvas: np.ndarray, place: tuple[int, int], size: Size) -> None:
    left, top = max(0, place[0]), max(0, place[1])
    part = canvas[top : max(0, place[1] + size[1]), left : max(0, place[0] + size[0])]
    part[:] = (part * SHADE).astype(np.uint8)


def _line(canvas: np.ndarray, text: str, place: tuple[int, int], color: Color, size: float) -> None:
    """`place`: the left end of the base line."""
    text = plain(text)
    cv2.putText(canvas, text, (place[0] + 1, place[1] + 1), FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(canvas, text, place, FONT, size, color, 1, cv2.LINE_AA)
