"""What is judged, by whom, and what is told about it: cases, baselines, networks in tiles, the page, the verb."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import Tensor, nn

from pipelines.evaluate import Job, judge
from pipelines.verb_evaluate import evaluate as evaluate_verb
from streamsr.errors import ConfigError
from streamsr.models.srvgg import SRVGG
from streamsr.train.cases import Case, CaseConfig, read_cases, read_small_clip
from streamsr.train.evaluate import (
    BASELINES,
    baseline_enlarger,
    evaluate,
    means,
    measure_flicker,
    network_enlarger,
    validate,
)
from streamsr.train.metrics import psnr_y
from streamsr.train.page import Page, Table, liveliest
from tests.train.data_pictures import smooth, some_pictures, write

SCALE = 4
PLAIN = CaseConfig(scale=SCALE)


class Nearest(nn.Module):
    """A network that knows nothing, adds `bias` and counts its calls."""

    def __init__(self, scale: int = SCALE, bias: float = 0.0) -> None:
        super().__init__()
        self.scale, self.calls = scale, 0
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, lr_N3hw: Tensor) -> Tensor:
        self.calls += 1
        return nn.functional.interpolate(lr_N3hw, scale_factor=self.scale) + self.bias


def tiny_srvgg() -> SRVGG:
    torch.manual_seed(1)
    return SRVGG(in_channels=3, out_channels=3, features=4, convs=2, scale=SCALE).eval()


def cases_of(folder: Path, cfg: CaseConfig = PLAIN, told: list[str] | None = None) -> list[Case]:
    return list(read_cases([str(folder)], cfg, pytest.fail if told is None else told.append))


def test_cases_are_made_smaller_by_area(tmp_path: Path) -> None:
    picture = smooth(101, 133, 1)
    write(tmp_path / "drawings" / "one.png", picture)
    (case,) = cases_of(tmp_path)
    assert (case.group, case.name) == ("drawings", "one")
    cut = picture[:100, :132]
    top, left = 0, 0
    assert np.array_equal(case.gt_3HW.permute(1, 2, 0).numpy(), picture[top : top + 100, left : left + 132])
    blocks = cut.reshape(25, 4, 33, 4, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(case.lr_3hw.permute(1, 2, 0).numpy() - blocks).max() <= 0.5
    (other,) = cases_of(tmp_path, replace(PLAIN, smaller="bicubic"))
    assert 0 < (other.lr_3hw.int() - case.lr_3hw.int()).abs().max() < 40
    (coded,) = cases_of(tmp_path, replace(PLAIN, jpeg=30))
    assert not torch.equal(coded.lr_3hw, case.lr_3hw)


def test_cases_are_chosen_cut_and_seeded(tmp_path: Path) -> None:
    some_pictures(tmp_path, 5, height=128, width=160)
    held = tmp_path / "held.toml"
    held.write_text('names = ["picture-3"]')
    assert [case.name for case in cases_of(tmp_path, replace(PLAIN, held_out=str(held)))] == ["picture-3"]
    assert [case.name for case in cases_of(tmp_path, replace(PLAIN, count=2))] == ["picture-0", "picture-2"]
    cut = cases_of(tmp_path, replace(PLAIN, crop=70))[0]
    assert cut.gt_3HW.shape == (3, 68, 68)
    assert torch.equal(cut.gt_3HW, cases_of(tmp_path)[0].gt_3HW[:, 30:98, 46:114])
    small = cases_of(tmp_path, replace(PLAIN, max_side=80))[0]
    assert small.gt_3HW.shape == (3, 64, 80)
    degraded = [cases_of(tmp_path, replace(PLAIN, recipe="classical", count=2, seed=seed)) for seed in (1, 1, 2)]
    for one, same, other in zip(*degraded, strict=True):
        assert torch.equal(one.lr_3hw, same.lr_3hw)
        assert not torch.equal(one.lr_3hw, other.lr_3hw)


def test_what_cannot_be_judged_is_told(tmp_path: Path) -> None:
    some_pictures(tmp_path, 1)
    write(tmp_path / "tiny.png", smooth(20, 20, 1))
    (tmp_path / "text.png").write_bytes(b"this is no picture")
    told: list[str] = []
    assert len(cases_of(tmp_path, told=told)) == 1
    assert [line.split(":")[0] for line in told] == ["skipped text", "skipped tiny"]
    with pytest.raises(ConfigError, match="no such folder"):
        cases_of(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="nothing to judge by"):
        cases_of(tmp_path / "empty")


def test_paired_cases(tmp_path: Path) -> None:
    large = smooth(80, 120, 1)
    write(tmp_path / "hr" / "one.png", large)
    write(tmp_path / "hr" / "two.png", large)
    write(tmp_path / "lr" / "one.png", large[::4, ::4])
    write(tmp_path / "lr" / "two.png", large[::3, ::4])
    told: list[str] = []
    (case,) = cases_of(tmp_path / "hr", replace(PLAIN, lr=str(tmp_path / "lr")), told)
    assert torch.equal(case.lr_3hw, case.gt_3HW[:, ::4, ::4])
    assert len(told) == 1
    assert "no pair for x4" in told[0]


def test_baselines_are_opencvs() -> None:
    small = smooth(12, 15, 1)
    for name, filter_ in BASELINES.items():
        wanted = cv2.resize(small, (60, 48), interpolation=filter_)
        made = baseline_enlarger(filter_, SCALE)(torch.from_numpy(small).permute(2, 0, 1))
        assert np.array_equal(made.permute(1, 2, 0).numpy(), wanted), name


def test_tiles_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_srvgg()
    lr = torch.from_numpy(smooth(50, 70, 1)).permute(2, 0, 1).contiguous()
    whole = network_enlarger(network, SCALE)(lr)
    monkeypatch.setattr("streamsr.train.evaluate.TILE", 16)
    tiled = network_enlarger(network, SCALE)(lr)
    assert (whole.int() - tiled.int()).abs().max() <= 1
    counted = Nearest()
    assert torch.equal(network_enlarger(counted, SCALE)(lr), nn.functional.interpolate(lr[None], scale_factor=4)[0])
    assert counted.calls == 4 * 5
    folded = network_enlarger(Nearest(4), 2, fold=2)(lr)
    assert torch.equal(folded, nn.functional.interpolate(lr[None], scale_factor=2)[0])


def test_rows_and_means(tmp_path: Path) -> None:
    some_pictures(tmp_path, 2)
    cases = cases_of(tmp_path)
    methods = {
        "bicubic": baseline_enlarger(cv2.INTER_CUBIC, SCALE),
        "bright": network_enlarger(Nearest(bias=2 / 255), SCALE),
    }
    rows = [row for judged in evaluate(methods, cases, SCALE, teacher="bicubic") for row in judged.rows]
    assert [(row.name, row.method) for row in rows] == [
        ("picture-0", "bicubic"), ("picture-0", "bright"), ("picture-1", "bicubic"), ("picture-1", "bright"),
    ]  # fmt: skip
    assert math.isnan(rows[0].psnr_teacher)
    truth, enlarged = (
        picture.permute(1, 2, 0).numpy() for picture in (cases[0].gt_3HW, methods["bicubic"](cases[0].lr_3hw))
    )
    assert rows[0].psnr == pytest.approx(psnr_y(np.ascontiguousarray(enlarged), np.ascontiguousarray(truth), SCALE))
    found = {mean.method: mean for mean in means(rows)}
    assert found["bright"].count == 2
    assert found["bright"].psnr == pytest.approx((rows[1].psnr + rows[3].psnr) / 2)
    assert found["bright"].shift == pytest.approx((2, 2, 2), abs=0.5)
    assert found["bright"].worst_shift >= max(found["bright"].shift)


def test_validation_leaves_the_generator_as_it_was(tmp_path: Path) -> None:
    some_pictures(tmp_path, 2, height=224, width=224)
    network = tiny_srvgg().train()
    page = Page(tmp_path / "page")
    found = validate(network, cases_of(tmp_path), page)
    words = page.finish("after", "", ()).read_text("utf-8")
    assert words.count("<figure") == 2
    assert all((tmp_path / "page" / name).is_file() for name in re.findall(r'src="([^"]+)"', words))
    assert network.training
    assert set(found) == {"psnr", "ssim", "niqe", "psnr_bicubic", "shift"}
    assert 10 < found["psnr"] < found["psnr_bicubic"]


def test_flicker_of_networks(media_dir: Path) -> None:
    clip = read_small_clip(media_dir / "clips" / "bbb-176x144-mpeg4.mp4", 2)
    assert clip.shape == (12, 3, 72, 88)

    shown = itertools.count()

    def trembling(lr_3hw: Tensor) -> Tensor:
        return nn.functional.interpolate(lr_3hw[None], scale_factor=2)[0] // 2 + 9 * (next(shown) % 2)

    still = measure_flicker(network_enlarger(Nearest(2), 2), clip)
    moving = measure_flicker(trembling, clip)
    assert still is not None
    assert moving is not None
    assert still.change == pytest.approx(still.input_change, abs=1e-6)
    assert moving.change == pytest.approx(9, abs=1)


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    page = Page(tmp_path / "out")
    pictures = {"<bi>&cubic": smooth(60, 80, 1), "original": smooth(60, 80, 2)}
    page.add("a <b> case", pictures, "12 dB")
    page.add("another", pictures)
    path = page.finish("Before & after", "words", [Table("T", ("a", "b"), [("1", "2")])])
    text = path.read_text("utf-8")
    assert "http" not in text
    assert "<b> case" not in text.replace("<b>a &lt;b&gt; case</b>", "")
    files = set(re.findall(r'src="([^"$]+)"', text))
    files |= {
        file for data in re.findall(r'data-files="([^"]+)"', text) for file in re.findall(r"pictures/[\w-]+\.png", data)
    }
    assert len(files) == 6
    for file in files:
        assert cv2.imread(str(path.parent / file)) is not None, file
    shown = cv2.imread(str(path.parent / "pictures" / "000-original.png"))
    assert shown is not None
    assert np.array_equal(shown[..., ::-1], pictures["original"][:60, 20:80]) or shown.shape == (60, 60, 3)


def test_the_liveliest_part_is_shown() -> None:
    picture = np.full((200, 300, 3), 50, np.uint8)
    picture[120:180, 210:280] = np.random.default_rng(0).integers(0, 256, (60, 70, 3))
    top, left, side = liveliest(picture, 100)
    assert side == 100
    assert top in (100, 50)
    assert left == 200
    assert liveliest(picture[:30, :40], 100)[2] == 30


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "mine.safetensors"
    save_file({key: value.contiguous() for key, value in tiny_srvgg().state_dict().items()}, path)
    return str(path)


def test_the_verb(tmp_path: Path, model: str) -> None:
    some_pictures(tmp_path / "in", 2)
    words = [
        model,
        "--teacher",
        model,
        "--pictures",
        str(tmp_path / "in"),
        "--out",
        str(tmp_path / "out"),
        "--count",
        "1",
    ]
    done = CliRunner().invoke(evaluate_verb, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert re.search(r"in \(1\) +mine +\d+\.\d\d +0\.\d{4}", done.stdout)
    numbers: dict[str, Any] = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [row["method"] for row in numbers["rows"]] == ["bicubic", "Lanczos", "mine"]
    assert numbers["rows"][2]["psnr_teacher"] is None
    assert numbers["models"][model]["sha256"]
    assert "mine" in (tmp_path / "out" / "index.html").read_text()


def test_models_that_do_not_fit_are_refused(tmp_path: Path, model: str) -> None:
    some_pictures(tmp_path / "in", 1)
    job = Job(models=(model,), pictures=(str(tmp_path / "in"),), cases=replace(PLAIN, scale=3))
    with pytest.raises(ConfigError, match="enlarges by 4, not by 3"):
        judge(job, pytest.fail)
    folded = judge(replace(job, cases=replace(PLAIN, scale=2)), lambda _line: None)
    assert folded.page is None
    assert len(folded.tables[0].rows) == 3
    with pytest.raises(ConfigError, match="nonsense"):
        judge(replace(job, cases=PLAIN, device="nonsense"), pytest.fail)
