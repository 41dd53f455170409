"""Measures `lite` on pictures and films that its training never saw: the tables of its card.

    python weights/measure_lite.py --weights weights/lite.safetensors --teacher PATH --pictures DIR --clips DIR

Each picture is made x4 smaller by area, enlarged again by every method, and compared with the picture it was. Luma is
BT.601's, a border of 4 px is left out, all values are rounded to 8 bit before they are compared.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch
from lite_pairs import HELD_OUT, SCALE, Picture, as_jpeg, read_picture, shrink, to_bytes, to_tensor
from torch import nn

from streamsr.models.weights import load_network

log = logging.getLogger("measure_lite")

FILMS = {"sintel-5s.mp4": (60, 90), "tears-of-steel-800x332-vp8-vorbis.webm": (240, 800, 1400)}
"""Films of the judging, with the numbers of the pictures taken from them, at their full size."""
BORDER = 4
TEACHER = "animevideov3"


def held_out(pictures: Path, clips: Path) -> list[tuple[str, str, Picture]]:
    """(group, name, picture), sides multiples of 4, at most 1600 px."""
    found = []
    for path in sorted(p for p in pictures.rglob("*") if p.stem in HELD_OUT):
        picture = read_picture(path)
        found.append((path.parent.name.split("-")[0], path.stem, shrink(picture, 1600 / max(picture.shape[:2]))))
    for name, numbers in FILMS.items():
        with av.open(str(clips / name)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number in numbers:
                    found.append(("film", f"{name} #{number}", np.asarray(frame.to_ndarray(format="rgb24"))))
                if number >= max(numbers):
                    break
    return [(group, name, p[: p.shape[0] // 4 * 4, : p.shape[1] // 4 * 4]) for group, name, p in found]


def luma(picture: Picture) -> npt.NDArray[np.float64]:
    values = picture @ np.array([65.481, 128.553, 24.966]) / 255 + 16
    return np.asarray(values[BORDER:-BORDER, BORDER:-BORDER], dtype=np.float64)


def psnr(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    return -10 * math.log10(max(float(np.square(one - other).mean()), 1e-9) / 255**2)


def ssim(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Wang et al. 2004: 11x11 Gaussian of 1.5 px, only where the whole window lies in the picture."""

    def blur(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5)[5:-5, 5:-5], dtype=np.float64)

    mean_a, mean_b = blur(one), blur(other)
    var_a, var_b = blur(one * one) - mean_a**2, blur(other * other) - mean_b**2
    both = blur(one * other) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ratio = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(ratio.mean())


def enlarge(low: Picture, networks: Mapping[str, nn.Module]) -> dict[str, Picture]:
    size = (low.shape[1] * SCALE, low.shape[0] * SCALE)
    made = {
        "bicubic": np.asarray(cv2.resize(low, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8),
        "Lanczos": np.asarray(cv2.resize(low, size, interpolation=cv2.INTER_LANCZOS4), dtype=np.uint8),
    }
    with torch.inference_mode():
        for name, network in networks.items():
            made[name] = to_bytes(network(to_tensor(low[None])))[0]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("weights", "teacher", "pictures", "clips"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--look", type=Path, help="folder for the enlarged pictures")
    parser.add_argument("--jpeg", type=int, help="compress the small picture first, with this quality")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    networks = {"lite": load_network(arguments.weights).module, TEACHER: load_network(arguments.teacher).module}
    sums: dict[tuple[str, str], list[npt.NDArray[np.float64]]] = defaultdict(list)
    for group, name, truth in held_out(arguments.pictures, arguments.clips):
        low = shrink(truth, 1 / SCALE)
        made = enlarge(as_jpeg(low, arguments.jpeg) if arguments.jpeg else low, networks)
        for method, picture in made.items():
            y, y_truth, y_teacher = luma(picture), luma(truth), luma(made[TEACHER])
            shift = (picture.astype(np.float64) - truth).mean(axis=(0, 1))
            row = [psnr(y, y_truth), ssim(y, y_truth), psnr(y, y_teacher), ssim(y, y_teacher), *shift]
            sums[group, method].append(np.array(row))
            log.info("%-44s %-13s %6.2f %.4f  %6.2f %.4f  %+.2f %+.2f %+.2f", name, method, *row)
            if arguments.look:
                stem = f"{name.replace(' ', '-')}-{method}.png"
                cv2.imwrite(str(arguments.look / stem), picture[..., ::-1])
    for (group, method), rows in sums.items():
        mean, worst = np.mean(rows, axis=0), np.abs(np.array(rows)[:, 4:]).max()
        to_teacher = "- | -" if method == TEACHER else f"{mean[2]:.2f} | {mean[3]:.4f}"
        shift = " ".join(f"{value:+.2f}" for value in mean[4:])
        log.info(
            f"| {group} ({len(rows)}) | {method} | {mean[0]:.2f} | {mean[1]:.4f} | {to_teacher} | {shift} "
            f"| {worst:.2f} |"
        )


if __name__ == "__main__":
    main()
