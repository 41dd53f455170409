"""The pictures that `lite` learns from and the crops made of them: small picture, teacher's drawing, original."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Picture = npt.NDArray[np.uint8]
"""HWC, RGB, 0..255."""

SCALE = 4
HELD_OUT = frozenset(
    [
        *("dicebear-adventurer-2", "dicebear-croodles-0", "dicebear-croodles-1", "dicebear-micah-1", "emojione-06"),
        *("glitch-crab", "glitch-cubi_fox", "kodak-05", "kodak-08", "kodak-19", "kodak-24", "skimage-astronaut"),
        *("clic25-2c1f84548ef9", "clic25-d1a9be98d193"),
    ]
)
"""Pictures that training never sees. Of the clips only Big Buck Bunny is trained on: the other films judge."""
TRAINING_CLIPS = ("bbb-1080p60-vp8-vorbis51.webm", "bbb-1080p60-h264-aac51.mp4")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What decides the weights, beside the pictures."""

    features: int = 32
    convs: int = 6
    seed: int = 20
    steps: int = 10_000
    flat: float = 0.5
    """Share of the steps at the full learning rate; the cosine runs over the rest."""
    learning_rate: float = 1e-3
    last_learning_rate: float = 1e-5
    batch: int = 8
    crop: int = 48
    """Side of what the student sees, in low-resolution pixels, cut at random from a stored crop."""
    stored_crop: int = 64
    crops_per_chunk: int = 512
    chunks: int = 8
    imitation: float = 0.7
    """Share of the teacher in the target; the rest is the original picture."""
    edge_weight: float = 0.3
    mean_weight: float = 0.5
    ema: float = 0.999


def load_pictures(pictures: Path, clips: Path) -> list[tuple[str, Picture]]:
    """(kind, picture) for everything that training may see, at most 2048 px wide or high, in a fixed order."""
    paths = sorted(p for p in pictures.rglob("*") if p.suffix in (".png", ".jpg", ".avif") and p.stem not in HELD_OUT)
    found = [(path.parent.name, read_picture(path)) for path in paths]
    for name in TRAINING_CLIPS:
        found += [("film", picture) for picture in read_film(clips / name, every=20)]
    return found


def read_picture(path: Path) -> Picture:
    """The picture, by area at most 2048 px wide or high; a compressed one at most 1600, which hides its compression."""
    picture = decode_still(path)
    limit = 2048 if path.suffix == ".png" else 1600
    return shrink(picture, limit / max(picture.shape[:2]))


def decode_still(path: Path) -> Picture:
    """The picture; what is transparent shows a light grey behind it."""
    with av.open(str(path)) as container:
        rgba = next(container.decode(video=0)).to_ndarray(format="rgba").astype(np.uint16)
    alpha = rgba[..., 3:]
    return np.asarray((rgba[..., :3] * alpha + 208 * (255 - alpha) + 127) // 255, dtype=np.uint8)


def read_film(path: Path, every: int) -> list[Picture]:
    """Each `every`-th picture of the film at half its size."""
    with av.open(str(path)) as container:
        frames = (frame for index, frame in enumerate(container.decode(video=0)) if index % every == 0)
        return [shrink(np.asarray(frame.to_ndarray(format="rgb24")), 0.5) for frame in frames]


def shrink(picture: Picture, factor: float) -> Picture:
    if factor >= 1:
        return picture
    size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def cut_crop(found: list[tuple[str, Picture]], side: int, rng: np.random.Generator) -> Picture:
    """A side x side crop, of three candidates usually the liveliest, from a kind and then a picture drawn at random."""
    kinds = sorted({kind for kind, _ in found})
    kind = kinds[rng.integers(len(kinds))]
    group = [picture for name, picture in found if name == kind]
    candidates = []
    for _ in range(3 if rng.random() < 0.8 else 1):
        picture = group[rng.integers(len(group))]
        reach = min(side * rng.uniform(1.0, 2.5), *picture.shape[:2])
        span = side if reach < side * 1.15 else int(reach)
        top = rng.integers(picture.shape[0] - span + 1)
        left = rng.integers(picture.shape[1] - span + 1)
        candidates.append(shrink(picture[top : top + span, left : left + span], side / span))
    return max(candidates, key=lambda crop: float(cv2.Laplacian(crop, cv2.CV_32F).std()))


def make_small(high: Picture, rng: np.random.Generator) -> Picture:
    """The x4 smaller picture as a user might have it: one of three filters, at times blurred, noisy or compressed."""
    size = (high.shape[1] // SCALE, high.shape[0] // SCALE)
    if rng.random() < 0.3:
        high = np.asarray(cv2.GaussianBlur(high, (0, 0), rng.uniform(0.4, 2.0)), dtype=np.uint8)
    if rng.random() < 0.5:
        small = np.asarray(cv2.resize(high, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    else:
        planes = torch.from_numpy(np.ascontiguousarray(high)).permute(2, 0, 1)[None].float()
        mode = "bicubic" if rng.random() < 0.7 else "bilinear"
        planes = F.interpolate(planes, (size[1], size[0]), mode=mode, antialias=True)
        small = planes[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    if rng.random() < 0.15:
        noise = rng.normal(0, rng.uniform(1, 5), small.shape)
        small = np.clip(np.rint(small + noise), 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        small = as_jpeg(small, int(rng.integers(40, 96)))
    return np.ascontiguousarray(small)


def as_jpeg(picture: Picture, quality: int) -> Picture:
    """The picture after a JPEG of this quality (0..100)."""
    decoded = cv2.imdecode(cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)
    assert decoded is not None, "OpenCV reads what it wrote"
    return np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)


class Pool:
    """Crops on disk: what the student sees, what the teacher made of it, what the picture held. Kept between runs."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        side, big = recipe.stored_crop, recipe.stored_crop * SCALE
        count = recipe.chunks * recipe.crops_per_chunk
        self.folder, self.recipe = folder, recipe
        self.low = self._map("low", (count, side, side, 3))
        self.teacher = self._map("teacher", (count, big, big, 3))
        self.truth = self._map("truth", (count, big, big, 3))

    def _map(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        path = self.folder / f"{name}.npy"
        if path.exists():
            return np.lib.format.open_memmap(path, mode="r+")
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)

    def fill(self, found: list[tuple[str, Picture]], teacher: nn.Module) -> None:
        """Makes the chunks that are not there yet."""
        size = self.recipe.crops_per_chunk
        for chunk in range(self.recipe.chunks):
            done = self.folder / f"chunk-{chunk:02d}.done"
            if not done.exists():
                for first in range(chunk * size, (chunk + 1) * size, 8):
                    self._make(range(first, first + 8), found, teacher)
                done.touch()

    def _make(self, indices: range, found: list[tuple[str, Picture]], teacher: nn.Module) -> None:
        for index in indices:
            rng = np.random.default_rng([self.recipe.seed, 1, index])
            self.truth[index] = cut_crop(found, self.recipe.stored_crop * SCALE, rng)
            self.low[index] = make_small(self.truth[index], rng)
        low = to_tensor(self.low[indices.start : indices.stop])
        with torch.inference_mode():
            self.teacher[indices.start : indices.stop] = to_bytes(teacher(low))

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """(low, teacher, truth) of one step, NCHW in 0..1, turned and mirrored at random."""
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, 2, step])
        parts: list[list[npt.NDArray[np.uint8]]] = [[], [], []]
        for index in rng.integers(recipe.chunks * recipe.crops_per_chunk, size=recipe.batch):
            top, left = rng.integers(recipe.stored_crop - recipe.crop + 1, size=2)
            turn, mirror = int(rng.integers(4)), bool(rng.integers(2))
            for part, store, s in zip(parts, (self.low, self.teacher, self.truth), (1, SCALE, SCALE), strict=True):
                cut = store[index, top * s : (top + recipe.crop) * s, left * s : (left + recipe.crop) * s]
                part.append(np.rot90(cut[:, ::-1] if mirror else cut, turn))
        low, teacher, truth = (to_tensor(np.stack(part)) for part in parts)
        return low, teacher, truth


def to_tensor(pictures: npt.NDArray[np.uint8]) -> Tensor:
    """NHWC bytes -> NCHW 0..1, channels last in memory, which the CPU's convolutions like best."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div_(255)


@torch.inference_mode()
def to_bytes(pictures: Tensor) -> npt.NDArray[np.uint8]:
    """NCHW 0..1 -> NHWC bytes."""
    return pictures.detach().mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
