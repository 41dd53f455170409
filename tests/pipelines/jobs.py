"""Jobs for the tests of the whole path: the smallest network there is, and Debian's ffprobe and ffmpeg as judges."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import safetensors.torch
import torch

from streamsr.config import JobConfig
from streamsr.models.srvgg import SRVGG
from streamsr.report import Progress, Report
from tests.media import read_number

SCALE = 2


def write_tiny_model(path: Path) -> Path:
    """A random SRVGG of 8 features and one convolution, x2, whose corrections are small: about a plain enlargement."""
    torch.manual_seed(5)
    network = SRVGG(3, 3, features=8, convs=1, scale=SCALE)
    state = {name: (0.02 * torch.randn_like(value)).contiguous() for name, value in network.state_dict().items()}
    safetensors.torch.save_file(state, path)
    return path


def job(model: Path, **changes: Any) -> JobConfig:
    """A quick job; `changes` by dotted key with "__" for the dot: source__duration_s=1."""
    tree: dict[str, dict[str, Any]] = {
        "source": {"decoder": "cpu"},
        "upscale": {"model": str(model), "scale": 1, "device": "cpu", "precision": "fp32"},
        "encode": {},
        "run": {"patience_s": 60, "progress": "none"},
        "output": {},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        tree[section][name] = value
    return JobConfig.model_validate(tree)


@dataclass
class Ears:
    """A watcher that remembers."""

    notices: list[str] = field(default_factory=list)
    progresses: list[Progress] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def progress(self, now: Progress) -> None:
        self.progresses.append(now)

    def done(self, report: Report) -> None:
        self.reports.append(report)


def probe(path: Path, *options: str) -> dict[str, Any]:
    """What ffprobe says of a file, streams and chapters."""
    if shutil.which("ffprobe") is None:
        pytest.skip("needs ffprobe")
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_streams", "-show_chapters", *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main_video(found: dict[str, Any]) -> dict[str, Any]:
    """The stream with the moving pictures."""
    video: dict[str, Any] = next(
        each for each in found["streams"] if each["codec_type"] == "video" and not is_cover(each)
    )
    return video


def is_cover(stream: dict[str, Any]) -> bool:
    return bool(stream["codec_type"] == "video" and stream["disposition"]["attached_pic"])


def kinds(found: dict[str, Any]) -> str:
    """One letter a stream, sorted: Video, Audio, Subtitle, Data, aTtachment, Cover."""
    letters = {"video": "V", "audio": "A", "subtitle": "S", "data": "D", "attachment": "T"}
    return "".join(sorted("C" if is_cover(each) else letters[each["codec_type"]] for each in found["streams"]))


def display_aspect(width: int, height: int, sample_aspect: str | None) -> Fraction:
    aspect = Fraction((sample_aspect or "1:1").replace(":", "/")) if sample_aspect != "0:1" else Fraction(1)
    return Fraction(width, height) * aspect


def decode_errors(path: Path) -> str:
    """What ffmpeg complains of as it decodes every stream of a file; empty if nothing."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(path), "-map", "0:v:0", "-map", "0:a?"]
    done = subprocess.run(
        [*command, "-f", "null", "-"], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )
    return done.stderr if done.returncode == 0 else f"ffmpeg failed: {done.stderr}"


def numbers_of(path: Path, turn: Callable[[np.ndarray], np.ndarray] = np.asarray) -> list[int]:
    """The numbers drawn into the pictures of a file, in order of display, each picture turned by `turn` first."""
    with av.open(str(path)) as container:
        return [read_number(turn(luma_of(frame))) for frame in container.decode(video=0)]


def luma_of(frame: av.VideoFrame) -> np.ndarray:
    """The luma plane without padding, uint8 or uint16."""
    plane: Any = frame.planes[0]
    dtype = np.dtype(np.uint8 if frame.format.components[0].bits == 8 else "<u2")
    rows = np.frombuffer(plane, dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
    luma: np.ndarray = rows[:, : plane.width].copy()
    return luma


def leftovers(folder: Path) -> list[str]:
    """Names of unfinished files."""
    return sorted(path.name for path in folder.iterdir() if ".part" in path.name)
