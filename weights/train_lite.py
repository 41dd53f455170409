"""Trains `lite`, the embedded model: a small SRVGG that imitates animevideov3 and stays near the original picture.

    python weights/train_lite.py --teacher PATH --pictures DIR --clips DIR --out weights/lite.safetensors

Crops are cut from high-resolution pictures, made small, partly damaged, and shown to the teacher once; the student
then learns a mixture of what the teacher drew and what the picture held. Crop k and step n depend on the seed and on k
and n alone, so a run continued from its checkpoint equals a run that was never stopped (up to thread-order rounding).
"""

from __future__ import annotations

import argparse
import copy
import datetime
import logging
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from lite_pairs import SCALE, Pool, Recipe, load_pictures, read_picture, shrink, to_tensor
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from streamsr.models.srvgg import SRVGG
from streamsr.models.weights import load_network

log = logging.getLogger("train_lite")

WATCHED = ("glitch-cubi_fox", "dicebear-micah-1", "kodak-24", "skimage-astronaut")
"""Held-out pictures whose PSNR is logged while training; nothing is chosen by them."""


def loss_of(made: Tensor, teacher: Tensor, truth: Tensor, recipe: Recipe) -> Tensor:
    """Distance to the mixture, its edges, and the truth's local means.

    One mixed target, not two distances: the median between a teacher that is always the same and a truth that scatters
    would be the teacher alone. The teacher takes the truth's local means first, so that no cast is learned from it: it
    brightens by one to four steps of 255.
    """
    cast = F.avg_pool2d(teacher - truth, 8 * SCALE)
    teacher = teacher - F.interpolate(cast, teacher.shape[2:], mode="bilinear")
    target = recipe.imitation * teacher + (1 - recipe.imitation) * truth
    error = made - target
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    means = F.avg_pool2d(made - truth, 2 * SCALE).abs().mean()
    return error.abs().mean() + recipe.edge_weight * edges + recipe.mean_weight * means


def learning_rate(step: int, recipe: Recipe) -> float:
    """Short warm-up, flat, then a cosine down to the last rate."""
    if step < 200:
        return recipe.learning_rate * (step + 1) / 200
    done = max(0.0, (step / recipe.steps - recipe.flat) / (1 - recipe.flat))
    span = recipe.learning_rate - recipe.last_learning_rate
    return recipe.last_learning_rate + span * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def new_student(recipe: Recipe) -> SRVGG:
    """Begins as bilinear enlargement: three features carry the colours unchanged to the last convolution, which makes
    of them the difference between bilinear and nearest. The other features begin at random and hardly speak."""
    torch.manual_seed(recipe.seed)
    student = SRVGG(in_channels=3, out_channels=3, features=recipe.features, convs=recipe.convs, scale=SCALE)
    convs = [module for module in student.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for conv in convs:
            nn.init.kaiming_normal_(conv.weight, a=0.25)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
            conv.weight[:3] = 0
            conv.weight[range(3), range(3), 1, 1] = 1
        for prelu in (module for module in student.modules() if isinstance(module, nn.PReLU)):
            prelu.weight[:3] = 1
        last = convs[-1].weight
        nn.init.kaiming_normal_(last, a=0.25).mul_(0.05)
        last[:, :3] = 0
        for colour in range(3):
            last[colour * SCALE**2 : (colour + 1) * SCALE**2, colour] = bilinear_minus_nearest()
    return student


def bilinear_minus_nearest() -> Tensor:
    """16x3x3: for each of the 4x4 pixels made of one, row by row, what its nine neighbours add to the pixel itself."""
    offset = (torch.arange(SCALE) + 0.5) / SCALE - 0.5
    taps = torch.stack([(-offset).clamp(min=0), 1 - offset.abs(), offset.clamp(min=0)], dim=1)
    squares = torch.einsum("iy,jx->ijyx", taps, taps).reshape(SCALE**2, 3, 3)
    squares[:, 1, 1] -= 1
    return squares


class Watch:
    """PSNR of the watched pictures (RGB, against the truth and against the teacher), centre part, for the log."""

    def __init__(self, pictures: Path, teacher: nn.Module) -> None:
        self.cases = []
        for path in sorted(p for p in pictures.rglob("*") if p.stem in WATCHED):
            picture = read_picture(path)
            top, left = (picture.shape[0] - 480) // 2, (picture.shape[1] - 480) // 2
            truth = picture[top : top + 480, left : left + 480]
            low = to_tensor(shrink(truth, 1 / SCALE)[None])
            bicubic = np.asarray(
                cv2.resize(shrink(truth, 1 / SCALE), (480, 480), interpolation=cv2.INTER_CUBIC), np.uint8
            )
            drawn = teacher(low)
            self.cases.append((path.stem, low, to_tensor(truth[None]), drawn))
            truth_N3HW = to_tensor(truth[None])
            log.info(
                "%s: bicubic %.2f dB, teacher %.2f dB, bicubic to teacher %.2f dB",
                path.stem,
                decibels(to_tensor(bicubic[None]), truth_N3HW),
                decibels(drawn, truth_N3HW),
                decibels(to_tensor(bicubic[None]), drawn),
            )

    @torch.inference_mode()
    def line(self, student: nn.Module) -> str:
        parts = []
        for name, low, truth, drawn in self.cases:
            made = student(low).clamp(0, 1)
            parts.append(f"{name} {decibels(made, truth):.2f}/{decibels(made, drawn):.2f}")
        return ", ".join(parts)


def decibels(made: Tensor, truth: Tensor) -> float:
    return -10 * math.log10(float((made.clamp(0, 1) - truth.clamp(0, 1)).square().mean()))


def export(student: nn.Module, path: Path, step: int, recipe: Recipe) -> None:
    """Writes the weights with their origin in the header."""
    tensors = {name: value.detach().float().contiguous() for name, value in student.state_dict().items()}
    header = {
        "format": "pt",
        "name": "lite",
        "scale": str(SCALE),
        "license": "BSD-3-Clause",
        "date": datetime.date.today().isoformat(),
        "step": str(step),
        "recipe": repr(recipe),
        "teacher": "realesr-animevideov3, (c) 2021 Xintao Wang, BSD-3-Clause",
        "data": "CC0, CC BY, MIT, public-domain, Kodak and Unsplash pictures; Big Buck Bunny (CC BY 3.0): see lite.md",
    }
    save_file(tensors, path, metadata=header)


class Course:
    """Student, its running average and optimiser, and the number of steps done; kept in a file."""

    def __init__(self, checkpoint: Path, recipe: Recipe) -> None:
        self.checkpoint, self.recipe, self.steps = checkpoint, recipe, 0
        self.student = new_student(recipe)
        self.average = copy.deepcopy(self.student).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.student.parameters(), betas=(0.9, 0.99))
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True)
            self.student.load_state_dict(state["student"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.steps = state["step"]

    def step(self, low: Tensor, drawn: Tensor, truth: Tensor) -> float:
        """One step; the loss before it."""
        self.optimizer.param_groups[0]["lr"] = learning_rate(self.steps, self.recipe)
        loss = loss_of(self.student(low), drawn, truth, self.recipe)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.student.parameters(), 0.5)
        self.optimizer.step()
        kept_share = min(self.recipe.ema, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.student.parameters(), strict=True):
                kept.lerp_(new, 1 - kept_share)
        self.steps += 1
        return loss.item()

    def save(self) -> None:
        state = {"student": self.student.state_dict(), "average": self.average.state_dict()}
        written = self.checkpoint.with_suffix(".new")
        torch.save({**state, "optimizer": self.optimizer.state_dict(), "step": self.steps}, written)
        written.replace(self.checkpoint)


def train(arguments: argparse.Namespace, recipe: Recipe) -> None:
    arguments.work.mkdir(parents=True, exist_ok=True)
    teacher = load_network(arguments.teacher).module
    found = load_pictures(arguments.pictures, arguments.clips)
    log.info("%d pictures; %r", len(found), recipe)
    watch, pool = Watch(arguments.pictures, teacher), Pool(arguments.work, recipe)
    pool.fill(found, teacher)
    course = Course(arguments.work / "checkpoint.pt", recipe)
    began, total = time.monotonic(), 0.0
    while course.steps < recipe.steps:
        total += course.step(*pool.batch(course.steps))
        if course.steps % 100 == 0:
            log.info("step %d loss %.5f, %.0f ms a step", course.steps, total / 100, 10 * (time.monotonic() - began))
            began, total = time.monotonic(), 0.0
        if course.steps % 500 == 0 or course.steps == recipe.steps:
            log.info("step %d truth/teacher dB: %s", course.steps, watch.line(course.average))
            course.save()
            export(course.average, arguments.out, course.steps, recipe)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="realesr-animevideov3.pth")
    parser.add_argument("--pictures", type=Path, required=True, help="folder with cartoon/ natural/ natural-unsplash/")
    parser.add_argument("--clips", type=Path, required=True, help="folder with the Big Buck Bunny clip")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--work", type=Path, default=Path("lite-work"), help="folder for crops and the checkpoint")
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(2)
    train(arguments, Recipe(steps=arguments.steps))


if __name__ == "__main__":
    main()
