"""A page to look at before and after: one HTML file beside its PNGs, which needs no server and nothing else."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from streamsr.errors import SinkError
from streamsr.train.pictures import Picture

PART_SIDE = 512
"""Of each picture the liveliest square of this side is shown."""
STRIP_SIDE, STRIP_ZOOM = 128, 3
"""Strips show a square of this side from it, its pixels enlarged so many times."""
LABEL_HEIGHT = 22

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em;
       color: #222; background: #fafafa }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .2em .8em; text-align: right }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left } tr:nth-child(even) { background: #eee }
figure { margin: 2.5em 0 } .both { position: relative; width: fit-content; max-width: 100% }
.both img { display: block; image-rendering: pixelated } .both img + img { position: absolute; top: 0; left: 0 }
.line { position: absolute; top: 0; bottom: 0; width: 1px; background: #fff8; pointer-events: none }
.bar { display: flex; gap: 1em; align-items: center; margin: .5em 0 } .bar input[type=range] { flex: 1 }
.strip { max-width: 100%; image-rendering: pixelated } .words { white-space: pre-wrap }
"""
_SCRIPT = """
for (const figure of document.querySelectorAll("figure")) {
  const [below, above] = figure.querySelectorAll(".both img"), line = figure.querySelector(".line");
  const [left, right] = figure.querySelectorAll("select"), range = figure.querySelector("input.place");
  const zoom = figure.querySelector("input.zoom"), files = JSON.parse(figure.dataset.files);
  const show = () => {
    above.src = files[left.value]; below.src = files[right.value];
    above.style.clipPath = `inset(0 ${100 - range.value}% 0 0)`; line.style.left = range.value + "%";
    for (const image of [below, above]) image.style.width = figure.dataset.width * (zoom.checked ? 2 : 1) + "px";
  };
  for (const input of [left, right, range, zoom]) input.addEventListener("input", show);
  figure.querySelector(".both").addEventListener("mousemove", event => {
    const box = below.getBoundingClientRect();
    range.value = 100 * (event.clientX - box.left) / box.width; show();
  });
  show();
}
"""


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(slots=True)
class Page:
    """Collects cases as they are judged; their PNGs are written at once, so that only names stay in memory.

    Raises SinkError when the folder cannot be written."""

    folder: Path
    _figures: list[str] = field(default_factory=list)

    def add(self, title: str, pictures: Mapping[str, Picture], note: str = "") -> None:
        """A case: pictures of one size by the name of what made them, the original among them, last."""
        number = len(self._figures)
        truth = list(pictures.values())[-1]
        top, left, side = liveliest(truth, PART_SIDE)
        parts = {name: picture[top : top + side, left : left + side] for name, picture in pictures.items()}
        files = {name: f"pictures/{number:03d}-{_plain(name)}.png" for name in parts}
        for name, part in parts.items():
            self._write(files[name], part)
        strip = f"pictures/{number:03d}-strip.png"
        self._write(strip, strip_of(parts))
        names = list(parts)
        before, after = _options(names, names[0]), _options(names, names[-1])
        self._figures.append(
            f'<figure data-width="{parts[names[-1]].shape[1]}" data-files="{html.escape(json.dumps(files))}">\n'
            f"<figcaption><b>{html.escape(title)}</b> <span class=words>{html.escape(note)}</span></figcaption>\n"
            f'<div class=bar><select aria-label="left">{before}</select>'
            '<input class=place type=range min=0 max=100 value=50 aria-label="border">'
            f'<select aria-label="right">{after}</select>'
            "<label><input class=zoom type=checkbox> twice as large</label></div>\n"
            f'<div class=both><img alt="right" src="{files[names[-1]]}"><img alt="left" src="{files[names[0]]}">'
            "<div class=line></div></div>\n"
            f'<p><img class=strip alt="{html.escape(", ".join(names))}" src="{strip}"></p></figure>\n'
        )

    def finish(self, title: str, words: str, tables: Sequence[Table]) -> Path:
        """Writes index.html and returns its path."""
        head = f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>\n"
        body = f"<h1>{html.escape(title)}</h1><p class=words>{html.escape(words)}</p>\n"
        body += "".join(_table(table) for table in tables) + "".join(self._figures)
        path = self.folder / "index.html"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{head}{body}<script>{_SCRIPT}</script>\n", "utf-8")
        except OSError as error:
            raise _cannot_write(path, error) from error
        return path

    def _write(self, name: str, picture: Picture) -> None:
        path = self.folder / name
        data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1].tobytes()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise _cannot_write(path, error) from error


def liveliest(picture: Picture, side: int) -> tuple[int, int, int]:
    """(top, left, side) of the square where most happens, the smaller side of the picture if that is less; squares at
    every half of their side are tried."""
    side = min(side, *picture.shape[:2])
    step = max(1, side // 2)
    tops = [*range(0, picture.shape[0] - side, step), picture.shape[0] - side]
    lefts = [*range(0, picture.shape[1] - side, step), picture.shape[1] - side]
    places = [(top, left) for top in tops for left in lefts]
    # The mean, not the spread as crops.liveliness has it: else the border of a letterbox wins.
    detail = np.abs(cv2.Laplacian(picture, cv2.CV_32F))
    top, left = max(places, key=lambda p: float(detail[p[0] : p[0] + side, p[1] : p[1] + side].mean()))
    return top, left, side


def strip_of(parts: Mapping[str, Picture]) -> Picture:
    """The same square of all pictures side by side, enlarged pixel by pixel, each under its name."""
    top, left, side = liveliest(list(parts.values())[-1], STRIP_SIDE)
    columns = []
    for name, part in parts.items():
        square = part[top : top + side, left : left + side]
        large = square.repeat(STRIP_ZOOM, axis=0).repeat(STRIP_ZOOM, axis=1)
        label = np.full((LABEL_HEIGHT, large.shape[1], 3), 255, np.uint8)
        plain = name.encode("ascii", "replace").decode()
        cv2.putText(label, plain, (4, LABEL_HEIGHT - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        gap = np.full((large.shape[0] + LABEL_HEIGHT, 6, 3), 255, np.uint8)
        columns += [np.concatenate([label, large]), gap]
    return np.concatenate(columns[:-1], axis=1)


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n" for row in table.rows)
    return f"<h2>{html.escape(table.title)}</h2><table><tr>{head}</tr>\n{rows}</table>\n"


def _options(names: Sequence[str], chosen: str) -> str:
    marks = {name: " selected" if name == chosen else "" for name in names}
    return "".join(f"<option{mark}>{html.escape(name)}</option>" for name, mark in marks.items())


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def _cannot_write(path: Path, error: OSError) -> SinkError:
    return SinkError("cannot write the page", where=str(path), remedy=error.strerror or "")
