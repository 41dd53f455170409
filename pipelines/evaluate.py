"""The program `evaluate`: networks beside bicubic and Lanczos, as tables, as JSON, and as a page to look at."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import streamsr
from streamsr.errors import ConfigError, SinkError
from streamsr.models.weights import Network, load_network
from streamsr.runtime.allocator import keep_freed_memory
from streamsr.train.cases import CaseConfig, read_cases, read_small_clip
from streamsr.train.evaluate import (
    BASELINES,
    Enlarger,
    Mean,
    Row,
    baseline_enlarger,
    evaluate,
    means,
    measure_flicker,
    network_enlarger,
)
from streamsr.train.metrics import Flicker
from streamsr.train.page import Page, Table
from streamsr.upscale.device import plan_devices

ORIGINAL = "original"
FLICKER_COLUMNS = ("clip", "method", "still", "change", "input's change")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is to be judged. `cases.scale` 0: the smallest scale of the models; 4 without models."""

    models: tuple[str, ...]
    pictures: tuple[str, ...]
    cases: CaseConfig
    teacher: str = ""
    niqe: bool = False
    flicker: tuple[str, ...] = ()
    device: str = "auto"
    out: Path | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`page`: index.html, None without an output folder."""

    tables: tuple[Table, ...]
    page: Path | None


def judge(job: Job, notice: Callable[[str], None]) -> Verdict:
    """Raises ConfigError, WeightsError, SinkError."""
    keep_freed_memory()
    references = dict.fromkeys((*job.models, *((job.teacher,) if job.teacher else ())))
    networks = {reference: load_network(reference) for reference in references}
    scale = job.cases.scale or min((network.scale for network in networks.values()), default=4)
    cases = CaseConfig(**{**asdict(job.cases), "scale": scale})
    names, device = _names(networks), plan_devices(job.device, "fp32").devices[0]
    methods: dict[str, Enlarger] = {name: baseline_enlarger(filter_, scale) for name, filter_ in BASELINES.items()}
    methods |= {names[key]: _enlarger(network, scale, device) for key, network in networks.items()}
    page = Page(job.out) if job.out is not None else None
    rows: list[Row] = []
    for judged in evaluate(
        methods, read_cases(job.pictures, cases, notice), scale, teacher=names.get(job.teacher, ""), with_niqe=job.niqe
    ):
        rows += judged.rows
        notice(f"{judged.case.group}/{judged.case.name}: " + ", ".join(f"{r.method} {r.psnr:.2f}" for r in judged.rows))
        if page is not None:
            note = "\n".join(f"{row.method}: {row.psnr:.2f} dB, SSIM {row.ssim:.4f}" for row in judged.rows)
            truth = judged.case.gt_3HW.permute(1, 2, 0).numpy()
            page.add(f"{judged.case.group}/{judged.case.name}", {**judged.pictures, ORIGINAL: truth}, note)
    flickers = {
        (Path(clip).name, name): measure_flicker(enlarge, read_small_clip(Path(clip), scale))
        for clip in job.flicker
        for name, enlarge in methods.items()
    }
    tables = _tables(means(rows), flickers, job)
    if job.out is None or page is None:
        return Verdict(tables, None)
    _write_json(job, cases, networks, rows, flickers)
    return Verdict(tables, page.finish("Before and after", _words(cases, rows), tables))


def _names(networks: Mapping[str, Network]) -> dict[str, str]:
    """Reference -> the network's name, or the reference itself where two have the same."""
    names = [network.name for network in networks.values()]
    return {key: key if names.count(network.name) > 1 else network.name for key, network in networks.items()}


def _enlarger(network: Network, scale: int, device: torch.device) -> Enlarger:
    if network.scale % scale:
        raise ConfigError(
            f"{network.name} enlarges by {network.scale}, not by {scale}", remedy="Give --scale that all models can do."
        )
    return network_enlarger(network.module.to(device), scale, network.scale // scale)


def _tables(found: list[Mean], flickers: Mapping[tuple[str, str], Flicker | None], job: Job) -> tuple[Table, ...]:
    columns = ["pictures", "method", "PSNR", "SSIM"]
    columns += ["NIQE"] if job.niqe else []
    columns += ["PSNR, teacher", "SSIM, teacher"] if job.teacher else []
    rows = []
    for mean in found:
        row = [f"{mean.group} ({mean.count})", mean.method, _number(mean.psnr, 2), _number(mean.ssim, 4)]
        row += [_number(mean.niqe, 2)] if job.niqe else []
        row += [_number(mean.psnr_teacher, 2), _number(mean.ssim_teacher, 4)] if job.teacher else []
        rows.append([*row, " ".join(f"{value:+.2f}" for value in mean.shift), f"{mean.worst_shift:.2f}"])
    tables = [Table("Nearness to the originals", (*columns, "shift R G B", "worst"), rows)]
    if flickers:
        lines = [
            [
                *key,
                *(
                    "-" * 3
                    if one is None
                    else (f"{one.static_share:.0%}", f"{one.change:.3f}", f"{one.input_change:.3f}")
                ),
            ]
            for key, one in flickers.items()
        ]
        tables.append(Table("Flicker where the clip stands still, steps of 255", FLICKER_COLUMNS, lines))
    return tuple(tables)


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _words(cases: CaseConfig, rows: list[Row]) -> str:
    made = "paired pictures" if cases.lr else f"made x{cases.scale} smaller by {cases.recipe or cases.smaller}"
    jpeg = f", JPEG of quality {cases.jpeg}" if cases.jpeg and not cases.recipe else ""
    count = len({(row.group, row.name) for row in rows})
    return (
        f"{count} pictures, {made}{jpeg}, enlarged again. PSNR (dB) and SSIM on luma (BT.601), border of {cases.scale} "
        "px left out, 8 bit. Shift: mean of result minus original, steps of 255; worst: the largest of one picture and "
        "channel. Each picture shows its liveliest part; the strip under it a part of that, three times enlarged."
    )


def _write_json(
    job: Job,
    cases: CaseConfig,
    networks: Mapping[str, Network],
    rows: list[Row],
    flickers: Mapping[tuple[str, str], Flicker | None],
) -> None:
    """evaluation.json: everything that the tables are made of."""
    assert job.out is not None
    found: dict[str, Any] = {
        "version": streamsr.__version__,
        "cases": asdict(cases),
        "pictures": job.pictures,
        "models": {key: {"name": network.name, "sha256": network.sha256} for key, network in networks.items()},
        "teacher": job.teacher,
        "means": [asdict(mean) for mean in means(rows)],
        "rows": [asdict(row) for row in rows],
        "flicker": [
            {"clip": clip, "method": method, **asdict(one)}
            for (clip, method), one in flickers.items()
            if one is not None
        ],
    }
    path = job.out / "evaluation.json"
    try:
        job.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_plain(found), indent=1) + "\n", "utf-8")
    except OSError as error:
        raise SinkError("cannot write the numbers", where=str(path), remedy=error.strerror or "") from error


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
