"""What may happen to a picture on its way to a training pair, as a frozen value read from TOML.

The keys and their meaning are those of Real-ESRGAN's options/train_realesrgan_x4plus.yml; those that end in 2 there
are the section `second` here. Chances are 0..1; ranges are drawn from evenly; shares are weights and need not sum to
one."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from streamsr.config import Section, load_as
from streamsr.degrade.video_recipe import Video
from streamsr.errors import ConfigError
from streamsr.installed import installed_dir

Mode = Literal["area", "bilinear", "bicubic", "smooth bilinear", "smooth bicubic"]
"""Ways of resizing. The smooth ones are antialiased, as good scalers are; the published recipe has the others."""
KernelKind = Literal["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("the first number of a range is the smaller one")
    return pair


def _odd(pair: tuple[int, int]) -> tuple[int, int]:
    if not 3 <= pair[0] <= pair[1] or pair[0] % 2 == 0 or pair[1] % 2 == 0:
        raise ValueError("sizes of kernels are odd, at least 3, the smaller one first")
    return pair


Share = Annotated[float, Field(ge=0)]
Chance = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Quality = Annotated[float, Field(ge=1, le=100)]
Range = Annotated[tuple[Positive, Positive], AfterValidator(_rising)]
QualityRange = Annotated[tuple[Quality, Quality], AfterValidator(_rising)]
OddRange = Annotated[tuple[int, int], AfterValidator(_odd)]


class Shares(Section):
    """Weights of choices; at least one is above 0."""

    @model_validator(mode="after")
    def _some(self) -> Shares:
        if sum(share for _, share in self) <= 0:
            raise ValueError("every share is 0, so there is nothing to choose from")
        return self


class KernelShares(Shares):
    """How often each kind of kernel is drawn."""

    iso: Share = 0.0
    """Round Gaussian."""
    aniso: Share = 0.0
    """Stretched and turned Gaussian."""
    generalized_iso: Share = 0.0
    """Round generalised Gaussian, of shape betag."""
    generalized_aniso: Share = 0.0
    """Stretched and turned generalised Gaussian."""
    plateau_iso: Share = 0.0
    """Round, flat on top, of shape betap."""
    plateau_aniso: Share = 0.0
    """Stretched, turned, flat on top."""


class ResizeShares(Shares):
    up: Share = 0.0
    """Enlarge, by 1 to the greater end of resize_range."""
    down: Share = 0.0
    """Reduce, by the smaller end of resize_range to 1."""
    keep: Share = 0.0
    """Factor 1."""


class Order(Section):
    blur_prob: Chance = 1.0
    """Chance of a blur."""
    sinc_prob: Chance = 0.1
    """Chance that the blur is a sinc filter, which rings; else one of kernel_prob."""
    kernel_sizes: OddRange = (7, 21)
    """Smallest and largest side of the kernel in pixels; every odd size between them is equally likely."""
    kernel_prob: KernelShares
    """Shares of the kernels' kinds."""
    blur_sigma: Range = (0.2, 3.0)
    """Standard deviation in pixels, of each axis."""
    betag_range: Range = (0.5, 4.0)
    """Shape of generalised Gaussians: from below 1 (peaked) and from above 1 (flat), half of the time each."""
    betap_range: Range = (1.0, 2.0)
    """Shape of plateau kernels: from below 1 and from above 1, half of the time each."""
    resize_prob: ResizeShares
    """Shares of enlarging, reducing, keeping."""
    resize_range: Range = (0.15, 1.5)
    """Smallest and greatest factor; contains 1."""
    resize_from: Literal["picture", "target"] = "picture"
    """What the factor multiplies: picture, the size that comes in; target, the size of the low-resolution picture."""
    resize_modes: Annotated[tuple[Mode, ...], Field(min_length=1)] = ("area", "bilinear", "bicubic")
    """Ways of resizing, equally likely."""
    noise_prob: Chance = 1.0
    """Chance of noise."""
    gaussian_noise_prob: Chance = 0.5
    """Chance that noise is Gaussian; else Poisson."""
    noise_range: Range = (1.0, 30.0)
    """Standard deviation of Gaussian noise, of 255."""
    poisson_scale_range: Range = (0.05, 3.0)
    """Strength of Poisson noise: 1 is that of the picture's own levels taken as counts."""
    gray_noise_prob: Chance = 0.4
    """Chance that the noise is the same in all three colours."""
    jpeg_prob: Chance = 1.0
    """Chance of JPEG."""
    jpeg_range: QualityRange = (30.0, 95.0)
    """JPEG quality."""

    @model_validator(mode="after")
    def _around_one(self) -> Order:
        for name in ("resize_range", "betag_range", "betap_range"):
            low, high = getattr(self, name)
            if not low <= 1 <= high:
                raise ValueError(f"{name} must contain 1")
        return self


class Final(Section):
    sinc_prob: Chance = 0.8
    """Chance of the last sinc filter."""
    kernel_sizes: OddRange = (7, 21)
    """Smallest and largest side of its kernel."""
    resize_modes: Annotated[tuple[Mode, ...], Field(min_length=1)] = ("area", "bilinear", "bicubic")
    """Ways of resizing to the low-resolution size, equally likely."""
    jpeg_prob: Chance = 1.0
    """Chance of the last JPEG."""
    jpeg_range: QualityRange = (30.0, 95.0)
    """Its quality."""
    jpeg_last_prob: Chance = 0.5
    """Chance that JPEG comes after resizing and sinc; else before both."""


class Sharpen(Section):
    weight: Positive = 0.5
    """How much of what a blur takes away is added."""
    kernel_size: Annotated[int, Field(ge=3)] = 51
    """Side of the Gaussian in pixels, odd."""
    threshold: Annotated[float, Field(ge=0)] = 10.0
    """Smallest difference to the blurred picture, of 255, that is sharpened."""

    @model_validator(mode="after")
    def _is_odd(self) -> Sharpen:
        if self.kernel_size % 2 == 0:
            raise ValueError("kernel_size must be odd")
        return self


class Recipe(Section):
    sharpen: Sharpen | None = None
    """Unsharp masking of the ground truth, before anything else; left out: none."""
    first: Order
    """The first blur, resize, noise, JPEG."""
    second: Order | None = None
    """The second of each; left out: a first-order recipe."""
    final: Final
    """Down to the low-resolution size."""
    video: Video | None = None
    """What a video does on top; left out: pictures."""


def recipe_names() -> dict[str, Path]:
    """Every recipe that comes with streamsr, name -> file."""
    return {file.stem: file for file in sorted((installed_dir() / "configs" / "degrade").glob("*.toml"))}


def load_recipe(name_or_path: str, assignments: tuple[str, ...] = ()) -> Recipe:
    """The recipe of that name (`recipe_names`) or in that TOML file, changed by "section.key=value" assignments.

    Raises ConfigError for an unknown name with the nearest one, a missing file, an unknown key, a wrong value."""
    names = recipe_names()
    path = Path(name_or_path).expanduser()
    if name_or_path in names and not path.is_file():
        return load_as(Recipe, names[name_or_path], assignments, {})
    if path.is_file() or path.suffix == ".toml":
        return load_as(Recipe, path, assignments, {})
    near = difflib.get_close_matches(name_or_path, names, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(names)}; or give a TOML file."
    raise ConfigError(f"no such recipe: {name_or_path}", remedy=hint)
