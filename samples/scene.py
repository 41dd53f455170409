"""A drawn street with a parade, as a picture of any moment: flat colours, ink outlines, gradients, text."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

WIDTH, HEIGHT = 480, 270
"""The coordinates of the drawing."""
SIZE = 960, 540
FINER = 4
"""The drawing is made in this many pixels per unit and averaged down, which is what makes the edges smooth."""

Color = tuple[int, int, int]
Points = Sequence[tuple[float, float]] | np.ndarray
INK: Color = (58, 38, 66)
FLAGS: tuple[Color, ...] = ((226, 74, 70), (250, 196, 66), (62, 146, 204), (104, 178, 92), (170, 104, 190))
WALLS: tuple[Color, ...] = ((240, 178, 130), (150, 190, 214), (238, 212, 132), (206, 150, 176))
SIGNS = ("BOOKS", "TOYS", "CAKES", "TEA")
ROOFS: tuple[Color, ...] = ((178, 70, 62), (84, 92, 140), (150, 88, 60), (110, 64, 110))


class Sheet:
    """A canvas in coordinates of WIDTH x HEIGHT, y downwards; colours are RGB."""

    def __init__(self) -> None:
        self._pixels = np.zeros((HEIGHT * FINER, WIDTH * FINER, 3), np.uint8)

    def finished(self) -> np.ndarray:
        """RGB, (540, 960, 3) uint8."""
        return cv2.resize(self._pixels, SIZE, interpolation=cv2.INTER_AREA)

    def gradient(self, top: float, bottom: float, above: Color, below: Color) -> None:
        first, last = round(top * FINER), round(bottom * FINER)
        mix = np.linspace(0, 1, last - first)[:, None, None]
        rows = (1 - mix) * np.array(above) + mix * np.array(below)
        self._pixels[first:last] = np.rint(rows).astype(np.uint8)

    def shape(self, points: Points, fill: Color, ink: float = 1.6, color: Color = INK) -> None:
        """A filled polygon with an outline `ink` wide; 0 for none."""
        corners = np.rint(np.asarray(points, float) * FINER * 16).astype(np.int32)
        cv2.fillPoly(self._pixels, [corners], fill, cv2.LINE_AA, 4)
        if ink:
            cv2.polylines(self._pixels, [corners], True, color, max(round(ink * FINER), 1), cv2.LINE_AA, 4)

    def line(self, points: Points, width: float, color: Color = INK) -> None:
        corners = np.rint(np.asarray(points, float) * FINER * 16).astype(np.int32)
        cv2.polylines(self._pixels, [corners], False, color, max(round(width * FINER), 1), cv2.LINE_AA, 4)

    def oval(
        self, x: float, y: float, across: float, up: float, fill: Color, ink: float = 1.6, turn: float = 0
    ) -> None:
        """Half axes `across` and `up`, turned by `turn` radians."""
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        right, down = across * np.cos(angle), up * np.sin(angle)
        turned = np.stack((right * np.cos(turn) - down * np.sin(turn), right * np.sin(turn) + down * np.cos(turn)), 1)
        self.shape(np.add(turned, (x, y)), fill, ink)

    def limb(self, points: Points, width: float, fill: Color) -> None:
        """A round-ended stroke with an outline: arms and legs."""
        self.line(points, width + 3, INK)
        self.line(points, width, fill)

    def text(self, words: str, x: float, y: float, height: float, color: Color, weight: float = 1.2) -> None:
        """Centred at x, on the base line y; `height` of the capitals."""
        font = cv2.FONT_HERSHEY_DUPLEX
        scale = height * FINER / 22
        (width, _), _ = cv2.getTextSize(words, font, scale, 1)
        at = (round(x * FINER - width / 2), round(y * FINER))
        cv2.putText(self._pixels, words, at, font, scale, color, max(round(weight * FINER), 1), cv2.LINE_AA)


def draw(time_s: float) -> np.ndarray:
    """The picture at `time_s`: RGB, (540, 960, 3) uint8. The camera follows the parade to the right."""
    sheet = Sheet()
    pan = 26 * time_s
    _sky(sheet, time_s, pan)
    _hills(sheet, pan)
    _houses(sheet, pan)
    _street(sheet, pan)
    _bunting(sheet, time_s, pan)
    for place, size in ((96, 0.8), (150, 0.9)):
        _duck(sheet, place, 222 + 6 * size, size, time_s + place, FLAGS[place % 5])
    _bear(sheet, 262, 226, time_s)
    _duck(sheet, 372, 226, 1.0, time_s + 0.4, FLAGS[0])
    _confetti(sheet, time_s)
    return sheet.finished()


def _sky(sheet: Sheet, time_s: float, pan: float) -> None:
    sheet.gradient(0, 190, (104, 178, 232), (255, 228, 190))
    sheet.gradient(190, HEIGHT, (255, 228, 190), (255, 228, 190))
    x, y = 404, 50
    for ray in range(12):
        angle = ray * np.pi / 6 + time_s * 0.5
        tips = [(r * np.cos(angle + side), r * np.sin(angle + side)) for r, side in ((29, -0.1), (40, 0), (29, 0.1))]
        sheet.shape(np.add(tips, (x, y)), (255, 214, 90), 1.2, (214, 130, 50))
    sheet.oval(x, y, 24, 24, (255, 224, 110), 1.6)
    for start, height, size in ((40, 46, 1.0), (230, 30, 0.7), (380, 88, 0.6), (560, 52, 0.9)):
        left = (start - pan * 0.25 - time_s * 4 + 80) % 640 - 80
        puffs = [(-26, 4, 14), (-8, -5, 18), (14, -2, 16), (30, 5, 11)]
        for grow, fill in ((1.5, INK), (0, (255, 253, 248))):
            for dx, dy, radius in puffs:
                sheet.oval(
                    left + dx * size, height + dy * size, radius * size + grow, radius * size * 0.8 + grow, fill, 0
                )


def _hills(sheet: Sheet, pan: float) -> None:
    across = np.linspace(0, WIDTH, 121)
    layers = ((0.2, 132, 16, (138, 178, 186)), (0.4, 150, 13, (122, 186, 128)), (0.6, 166, 9, (92, 164, 98)))
    for number, (share, base, swing, fill) in enumerate(layers):
        at = (across + pan * share) / 60 + number * 2
        ridge = base - swing * np.sin(at) - swing * 0.4 * np.sin(at * 2.3)
        sheet.shape([*np.stack((across, ridge), 1), (WIDTH + 9, HEIGHT), (-9, HEIGHT)], fill, 1.4)


def _houses(sheet: Sheet, pan: float) -> None:
    for number in range(-1, 8):
        x = number * 104 - pan
        if not -110 < x < WIDTH + 20:
            continue
        wall, roof = WALLS[number % 4], ROOFS[(number * 3) % 4]
        top = 128 + 12 * (number % 3)
        sheet.shape([(x, top), (x + 66, top), (x + 66, 204), (x, 204)], wall)
        sheet.shape([(x - 6, top + 2), (x + 33, top - 28), (x + 72, top + 2)], roof)
        sheet.shape(
            [(x + 15, top - 13), (x + 51, top - 13), (x + 51, top - 3), (x + 15, top - 3)], (252, 240, 214), 1.2
        )
        sheet.text(SIGNS[number % 4], x + 33, top - 5.2, 5.6, INK, 0.9)
        for column in (10, 40):
            sheet.shape(
                [(x + column + dx, top + 14 + dy) for dx, dy in ((0, 0), (15, 0), (15, 18), (0, 18))],
                (206, 232, 240),
                1.3,
            )
            sheet.line([(x + column + 7.5, top + 14), (x + column + 7.5, top + 32)], 1)
            sheet.line([(x + column, top + 23), (x + column + 15, top + 23)], 1)
        sheet.shape([(x + 26, 204), (x + 26, 178), (x + 41, 178), (x + 41, 204)], roof, 1.3)
        sheet.oval(x + 38, 192, 1.2, 1.2, (250, 220, 120), 0)
        tree = x + 86
        sheet.limb([(tree, 204), (tree, 176)], 4, (134, 92, 62))
        for grow, fill in ((1.6, INK), (0, (76, 150, 84))):
            for dx, dy, radius in ((-8, 168, 10), (8, 168, 10), (0, 157, 11)):
                sheet.oval(tree + dx, dy, radius + grow, radius + grow, fill, 0)


def _street(sheet: Sheet, pan: float) -> None:
    sheet.gradient(204, 216, (214, 198, 176), (198, 180, 160))
    sheet.gradient(216, HEIGHT, (142, 134, 152), (104, 98, 122))
    for y in (204, 216):
        sheet.line([(0, y), (WIDTH, y)], 1.6)
    for number in range(-1, 14):
        x = (number * 44 - pan) % (15 * 44) - 44
        sheet.line([(x, 204), (x - 4, 216)], 0.9, (150, 132, 122))
        sheet.shape([(x, 248), (x + 24, 248), (x + 20, 253), (x - 4, 253)], (240, 232, 210), 0)


def _bunting(sheet: Sheet, time_s: float, pan: float) -> None:
    across = np.linspace(-20, WIDTH + 20, 81)
    height = 14 + 12 * (1 - ((across + pan * 0.8) % 160 / 80 - 1) ** 2)
    sheet.line(np.stack((across, height), 1), 1.3)
    for number in range(-2, 26):
        x = number * 26 - (pan * 0.8) % 130
        y = 14 + 12 * (1 - ((x + pan * 0.8) % 160 / 80 - 1) ** 2)
        sway = 3 * np.sin(time_s * 5 + number)
        fill = FLAGS[(number + int(pan * 0.8 / 130) * 5) % 5]
        sheet.shape([(x - 7, y), (x + 7, y), (x + sway, y + 16)], fill, 1.2)


def _bear(sheet: Sheet, x: float, ground: float, time_s: float) -> None:
    """The drummer: two steps and four beats a second."""
    fur, cream, coat = (176, 116, 72), (240, 208, 168), (206, 56, 62)
    step = np.sin(time_s * 2 * np.pi)
    y = ground - 62 - 2.5 * abs(step)
    for side in (-1, 1):
        foot = (x + 9 * side + 11 * step * side, ground - 4 - max(0.0, 5 * step * side))
        sheet.limb([(x + 8 * side, y + 34), (x + 9 * side + 6 * step * side, y + 46), foot], 9, (70, 78, 130))
        sheet.oval(foot[0] + 4, foot[1] + 2, 9, 5, INK, 0)
    sheet.oval(x, y + 18, 23, 26, coat)
    sheet.line([(x, y - 4), (x + 1, y + 42)], 1.2)
    for button in (6, 16, 26):
        sheet.oval(x + 5, y + button, 1.9, 1.9, (250, 206, 84), 0.8)
    drum_x, drum_y = x + 18, y + 30
    sheet.line([(x - 16, y + 2), (drum_x + 14, drum_y - 6)], 2.4, (250, 236, 200))
    sheet.shape(
        [(drum_x - 16, drum_y - 6), (drum_x + 18, drum_y - 6), (drum_x + 17, drum_y + 15), (drum_x - 15, drum_y + 15)],
        (62, 146, 204),
    )
    for rung in range(4):
        left = drum_x - 15 + rung * 8.5
        sheet.line([(left, drum_y - 4), (left + 4, drum_y + 13), (left + 8.5, drum_y - 4)], 1, (255, 240, 200))
    sheet.oval(drum_x + 1, drum_y - 6, 18, 6, (252, 246, 230))
    for side, phase in ((-1, 0.0), (1, 0.5)):
        lift = 9 * abs(np.sin((time_s * 2 + phase) * np.pi))
        hand = (drum_x + 2 + 15 * side, drum_y - 16 - lift)
        sheet.limb([(x + 18 * side, y + 6), (x + 6 + 24 * side, y + 18 - lift / 3), hand], 8, coat)
        sheet.line([hand, (drum_x + 1 + 4 * side, drum_y - 8 - lift * 0.6)], 2.2, (150, 96, 50))
        sheet.oval(*hand, 5, 5, fur, 1.4)
    head = y - 22 + 1.2 * step
    for side in (-1, 1):
        sheet.oval(x + 3 + 17 * side, head - 14, 8, 8, fur)
        sheet.oval(x + 3 + 17 * side, head - 13, 4, 4, cream, 0)
    sheet.oval(x + 3, head, 24, 21, fur)
    sheet.oval(x + 9, head + 8, 12, 9, cream, 1.2)
    sheet.oval(x + 11, head + 3, 4.2, 3, INK, 0)
    sheet.line([(x + 11, head + 6), (x + 10, head + 11), (x + 5, head + 12)], 1.2)
    blink = 0.6 if time_s % 2 > 1.88 else 3.6
    for eye in (-3, 17):
        sheet.oval(x + eye, head - 4, 2.6, blink, INK, 0)
        sheet.oval(x + eye + 0.8, head - 5.2, 0.9, min(blink, 0.9), (255, 255, 255), 0)
    hat = head - 18
    sheet.shape([(x - 12, hat), (x - 15, hat - 24), (x + 19, hat - 24), (x + 16, hat)], (50, 74, 142))
    sheet.shape([(x - 13, hat - 6), (x + 17, hat - 6), (x + 16, hat), (x - 12, hat)], (250, 206, 84), 1.2)
    sheet.oval(x + 2, hat - 15, 4, 4, (250, 206, 84), 1.2)
    sheet.oval(x + 2, hat - 31, 5, 8, (226, 74, 70), 1.4, 0.2 * step)


def _duck(sheet: Sheet, x: float, ground: float, size: float, time_s: float, balloon: Color) -> None:
    """A duckling with a balloon on a string, waddling three times a second."""
    yellow, orange = (252, 212, 84), (240, 140, 52)
    waddle = np.sin(time_s * 3 * np.pi)
    y = ground - 22 * size - 1.5 * abs(waddle)
    float_x, float_y = x - 10 * size + 4 * np.sin(time_s * 2.2), y - 74 * size + 3 * np.cos(time_s * 1.7)
    sheet.line([(x + 9 * size, y), (x - 2 * size, y - 30 * size), (float_x, float_y + 17 * size)], 1)
    sheet.oval(float_x, float_y, 13 * size, 16 * size, balloon)
    sheet.oval(float_x - 5 * size, float_y - 6 * size, 2.6 * size, 4 * size, (255, 244, 236), 0, 0.5)
    for side in (-1, 1):
        foot = x + 4 * side * size + 4 * waddle * side * size
        sheet.line([(x + 3 * side * size, y + 12 * size), (foot, ground - 2)], 2.2, orange)
        sheet.oval(foot + 2, ground - 1, 4.5 * size, 1.9 * size, orange, 1.1)
    sheet.oval(x, y + 2, 17 * size, 13 * size, yellow, turn=0.08 * waddle)
    sheet.oval(x - 4 * size, y + 2, 9 * size, 6 * size, (240, 184, 60), 1.2, 0.3 * waddle)
    head_x, head_y = x + 12 * size, y - 15 * size
    sheet.oval(head_x, head_y, 11 * size, 10.5 * size, yellow, turn=0.1 * waddle)
    beak = [
        (head_x + 8 * size, head_y),
        (head_x + 19 * size, head_y + 2.5 * size),
        (head_x + 8 * size, head_y + 6 * size),
    ]
    sheet.shape(beak, orange, 1.3)
    sheet.oval(head_x + 4 * size, head_y - 3 * size, 1.8 * size, 2.3 * size, INK, 0)


def _confetti(sheet: Sheet, time_s: float) -> None:
    numbers = np.random.default_rng(7)
    for piece in range(46):
        x, y, speed, phase = numbers.uniform(0, 1, 4)
        left = (x * WIDTH + 10 * np.sin(time_s * 3 + phase * 6)) % WIDTH
        top = (y * 210 + (20 + 26 * speed) * time_s) % 210
        angle, thin = time_s * 4 * (0.5 + speed) + phase * 6, abs(np.cos(time_s * 5 * speed + phase * 6)) + 0.25
        along = np.array((np.cos(angle), np.sin(angle))) * 2.4
        over = np.array((-along[1], along[0])) * 0.6 * thin
        corners = [along + over, along - over, -along - over, -along + over]
        sheet.shape(np.add(corners, (left, top)), FLAGS[piece % 5], 0)
