"""The verb `doctor`: what this machine has, what of it really works, and what a job would use and why."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, cast

import torch

import streamsr
from pipelines.machine import gpu_facts, machine_facts, no_gpu_reason, nvidia_driver
from streamsr.config import JobConfig
from streamsr.errors import StreamSRError
from streamsr.frames import ColorTags, PixelLayout, VideoInfo
from streamsr.media.encoders import HARDWARE, SOFTWARE, choose_encoder
from streamsr.media.trials import ENCODED_BY, ONLY_OPENED, library_versions, try_all
from streamsr.models.catalog import CATALOG
from streamsr.models.locations import choose_model, find, resolve
from streamsr.upscale.device import plan_devices

NVDEC_CODECS = ("h264", "hevc", "vp9", "av1")


@dataclass(frozen=True, slots=True)
class Checkup:
    """The findings. `encoders`, `decoders` and `nvdec`: name -> why it does not work, None where it does. `models`:
    name -> file, None where the weights are not here. `choices`: what a job on a small H.264 file would use, and why.
    `problems`: what stands in the way of any job."""

    versions: dict[str, str]
    machine: dict[str, str]
    gpus: list[dict[str, Any]]
    no_gpu: str | None
    encoders: dict[str, str | None]
    decoders: dict[str, str | None]
    nvdec: dict[str, str | None]
    models: dict[str, str | None]
    choices: dict[str, str]
    problems: tuple[str, ...]

    @property
    def can_work(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"can_work": self.can_work, **dataclasses.asdict(self)}

    def sections(self) -> list[tuple[str, list[tuple[str, ...]]]]:
        """(title, rows of name and value) in the order to show."""
        gpus = [(gpu["device"], _gpu_text(gpu)) for gpu in self.gpus] or [("none", self.no_gpu or "")]
        models = [(name, path or f"no: models pull {name}") for name, path in self.models.items()]
        verdict = [("problem", problem) for problem in self.problems] or [("all well", "a job can run here")]
        return [
            ("Versions", list(self.versions.items())),
            ("Machine", list(self.machine.items())),
            ("GPUs", list(gpus)),
            ("Encoders", _works_first(self.encoders)),
            ("Decoders", _works_first(self.decoders)),
            ("Decoding on the GPU", _works_first(self.nvdec)),
            ("Models", list(models)),
            ("A job would use", list(self.choices.items())),
            ("Verdict", list(verdict)),
        ]


def examine(cfg: JobConfig) -> Checkup:
    """Looks at everything, which takes some seconds. Raises nothing: what fails is a finding."""
    encoders = [*SOFTWARE.values(), *(name for names in HARDWARE.values() for name in names)]
    trials = {
        "encode": encoders,
        "decode": [*ENCODED_BY, *ONLY_OPENED],
        "nvdec": list(NVDEC_CODECS),
    }
    results = try_all(f"{kind} {name}" for kind, names in trials.items() for name in names)
    tried = {kind: {name: results[f"{kind} {name}"] for name in names} for kind, names in trials.items()}
    choices, problems = _choices(cfg, tried)
    gpus = gpu_facts()
    return Checkup(
        versions=_versions(),
        machine=machine_facts(),
        gpus=gpus,
        no_gpu=None if gpus else no_gpu_reason(),
        encoders=tried["encode"],
        decoders=tried["decode"],
        nvdec=tried["nvdec"],
        models={entry.name: str(path) if (path := find(entry.name)) else None for entry in CATALOG},
        choices=choices,
        problems=tuple(problems),
    )


def _choices(cfg: JobConfig, tried: dict[str, dict[str, str | None]]) -> tuple[dict[str, str], list[str]]:
    """What a job would use, each with its reason, and what keeps it from running."""
    kind = "cpu"

    def device() -> str:
        nonlocal kind
        plan = plan_devices(cfg.upscale.device, cfg.upscale.precision)
        kind = plan.kind
        return plan.why

    def model() -> str:
        if cfg.upscale.model == "auto":
            name, why = choose_model(cast(Literal["cuda", "mps", "cpu"], kind), can_pull=False)
        else:
            name, why = cfg.upscale.model, f"{cfg.upscale.model}: as asked"
        resolve(name)
        return why

    def decoder() -> str:
        if kind == "cuda" and cfg.source.decoder == "auto":
            reason = tried["nvdec"]["h264"]
            return "NVDEC: it works here" if reason is None else f"CPU: NVDEC does not open ({reason})"
        return (
            "CPU: the pictures are upscaled there"
            if cfg.source.decoder == "auto"
            else f"{cfg.source.decoder}: as asked"
        )

    def encoder() -> str:
        info = VideoInfo(
            "a file", "mp4", "h264", 960, 540, PixelLayout(), ColorTags(1, 1, 1), Fraction(1, 24), *_UNKNOWN
        )
        return choose_encoder(cfg.encode, info, 3840, 2160, Fraction(1), ".mkv").description

    findings: dict[str, str] = {}
    problems: list[str] = []
    steps: dict[str, Callable[[], str]] = {"device": device, "model": model, "decoder": decoder, "encoder": encoder}
    for name, step in steps.items():
        try:
            findings[name] = step()
        except StreamSRError as error:
            findings[name] = f"none: {error}"
            problems.append(f"{name}: {error}")
    return findings, problems


_UNKNOWN = (Fraction(24), None, None)
"""Rate, duration and count of the picture source that the encoder is chosen for."""


def _versions() -> dict[str, str]:
    versions = {"streamsr": streamsr.__version__, "Python": platform.python_version(), "torch": torch.__version__}
    driver = nvidia_driver()
    cuda = {"CUDA of torch": torch.version.cuda} if torch.version.cuda else {}
    return versions | cuda | ({"NVIDIA driver": driver} if driver else {}) | library_versions()


def _gpu_text(gpu: dict[str, Any]) -> str:
    if "total_bytes" not in gpu:
        return str(gpu["name"])
    sizes = f"{gpu['free_bytes'] / 1e9:.1f} GB free of {gpu['total_bytes'] / 1e9:.1f} GB"
    return f"{gpu['name']}, {sizes}, capability {gpu['capability']}"


def _works_first(trials: dict[str, str | None]) -> list[tuple[str, ...]]:
    """What works in one row; what does not with its reason, the same reason once."""
    working = [name for name, reason in trials.items() if reason is None]
    failing: dict[str, list[str]] = {}
    for name, reason in trials.items():
        if reason is not None:
            failing.setdefault(reason, []).append(name)
    rows = [("work", ", ".join(working) or "none")]
    return [*rows, *((", ".join(names), f"no: {reason}") for reason, names in failing.items())]
