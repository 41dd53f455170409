"""Crops by NVIDIA DALI: JPEG and PNG are decoded, only as far as the crop reaches, by its threads or by the GPU.

The places are those of crops.py, so that the crops are the ones of torch's loader but for rounding. What DALI cannot
decode as we do (clips, transparent pictures, other formats, damaged files) is cut by crops.py here."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import islice
from types import TracebackType
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import torch

from streamsr.errors import ConfigError, StageFailed
from streamsr.train.crops import SMALL_ZOOM, Crop, CropSource, Draw, at_least, draw_crop, liveliness, turned
from streamsr.train.data_config import DataConfig
from streamsr.train.loader_torch import PATIENCE_S, STAGE
from streamsr.train.pictures import Picture, is_whole, resize_area
from streamsr.train.sources import Group, Item, Notice

try:
    # DALI's modules are typed in part, which helps no reader.
    dali, fn, math, dali_types = (
        importlib.import_module(f"nvidia.dali{name}") for name in ("", ".fn", ".math", ".types")
    )  # type: Any, Any, Any, Any
except ImportError as error:
    raise ConfigError(
        "DALI is not installed",
        where='data.loader = "dali"',
        remedy="pip install 'streamsr[dali]', or loader = \"torch\".",
    ) from error

Made = TypeVar("Made")
BATCH = 8
"""Crops that DALI works on at once."""
NO_LIMIT = 1e9
JPEG_START = b"\xff\xd8"
PNG_HEADER, PNG_COLOR_AT, PNG_OPAQUE = b"\x89PNG\r\n\x1a\n", 25, (0, 2)
"""The byte of a PNG that tells its colour type, and the types without transparency and palette."""
DOT = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()
"""Something to decode for a run that has nothing else."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """Crops of one run of the pipeline, in order; those that DALI cuts with the encoded files of their candidates."""

    numbers: list[int]
    draws: dict[int, Draw]
    files: list[bytes] = dataclass_field(default_factory=list)
    places: list[np.ndarray] = dataclass_field(default_factory=list)


class DaliLoader(Generic[Made]):
    """See `open_loader`. `make` runs on cfg.workers threads, in this one with 0."""

    def __init__(
        self,
        groups: Sequence[Group],
        cfg: DataConfig,
        seed: int,
        numbers: Iterable[int],
        make: Callable[[Crop], Made],
        notice: Notice,
    ) -> None:
        self._source = CropSource(groups, cfg, seed, cfg.cache_mb * 2**20)
        self._cfg, self._seed, self._make, self._notice = cfg, seed, make, notice
        self._numbers = iter(numbers)
        self._planned: deque[_Planned] = deque()
        self._crops: deque[Crop] = deque()
        self._made: deque[Future[Made]] = deque()
        self._pipeline: Any = None
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> DaliLoader[Made]:
        if self._cfg.workers:
            self._threads = ThreadPoolExecutor(self._cfg.workers, thread_name_prefix=STAGE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pipeline = None
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def __iter__(self) -> DaliLoader[Made]:
        return self

    def __next__(self) -> Made:
        if self._threads is None:
            return self._make(self._next_crop())
        while len(self._made) <= 2 * self._cfg.workers:
            try:
                crop = self._next_crop()
            except StopIteration:
                break
            self._made.append(self._threads.submit(self._make, crop))
        if not self._made:
            raise StopIteration
        try:
            return self._made.popleft().result(PATIENCE_S)
        except TimeoutError as error:
            raise StageFailed(f"no pair for {PATIENCE_S:.0f} s", stage=STAGE) from error

    def _next_crop(self) -> Crop:
        """Raises StopIteration after the last number."""
        while not self._crops:
            self._crops.extend(self._run())
        crop = self._crops.popleft()
        for line in crop.skipped:
            self._notice(line)
        return crop

    def _run(self) -> list[Crop]:
        """The crops of the next run of the pipeline; DALI meanwhile begins with those after it."""
        if self._pipeline is None:
            self._pipeline = _pipeline(self._cfg, self._feed())
        try:
            pictures, geometry = self._pipeline.run()
        except StopIteration:
            self._pipeline = None
            raise
        except RuntimeError as error:
            return self._without_dali(error)
        planned = self._planned.popleft()
        if not planned.draws:
            return [self._source.crop(number) for number in planned.numbers]
        found = zip(_on_host(pictures), _on_host(geometry), strict=True)
        cuts = iter([self._fitted(picture, *numbers) for picture, numbers in found])
        return [
            self._crop(planned.draws[number], cuts) if number in planned.draws else self._source.crop(number)
            for number in planned.numbers
        ]

    def _without_dali(self, error: RuntimeError) -> list[Crop]:
        """The crops of all planned runs when a file that only looked sound has ended the pipeline. Raises StageFailed
        where no file is to blame."""
        self._pipeline = None
        failed = [number for planned in self._planned for number in planned.numbers]
        self._planned.clear()
        known = len(self._source.damaged)
        crops = [self._source.crop(number) for number in failed]
        if len(self._source.damaged) == known:
            words = [line for line in str(error).splitlines() if line and "ipeline" not in line and "  " not in line]
            raise StageFailed(f"DALI failed: {' '.join(words)}", stage=STAGE, remedy='Use data.loader = "torch".')
        return crops

    def _crop(self, draw: Draw, cuts: Iterator[Picture]) -> Crop:
        candidates = list(islice(cuts, len(draw.places)))
        best = max(range(len(candidates)), key=lambda n: liveliness(candidates[n]) if len(candidates) > 1 else 0.0)
        name = draw.places[best].item.name
        return Crop(draw.number, name, turned(candidates[best][None], draw.turn, draw.mirror))

    def _fitted(self, picture: Picture, rows: float, columns: float) -> Picture:
        """What DALI cut, with the crop's side; `rows` and `columns` are its size after the reduction of its picture."""
        side = self._cfg.crop
        if min(rows, columns) < side:
            return np.ascontiguousarray(at_least(resize_area(picture, int(rows), int(columns))[None], side)[0])
        return picture if picture.shape[:2] == (side, side) else resize_area(picture, side, side)

    def _feed(self) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
        """Plans runs and yields what they need: encoded files, and places as (top, left, zoom, limit of the side)."""
        while numbers := list(islice(self._numbers, BATCH)):
            planned = _Planned(numbers, {})
            for number in numbers:
                draw = draw_crop(self._source.groups, self._cfg, self._seed, number)
                files = [self._encoded(place.item) for place in draw.places]
                if all(files):
                    planned.draws[number] = draw
                    planned.files.extend(files)
                    limits = [self._source.limit(place.item.path) or NO_LIMIT for place in draw.places]
                    planned.places.extend(
                        np.array([place.top, place.left, place.zoom, limit], np.float64)
                        for place, limit in zip(draw.places, limits, strict=True)
                    )
            self._planned.append(planned)
            files = planned.files or [DOT]
            places = planned.places or [np.array([0, 0, 1, NO_LIMIT], np.float64)]
            yield [np.frombuffer(data, np.uint8) for data in files], places

    def _encoded(self, item: Item) -> bytes:
        """The file, or b"" where crops.py must cut it."""
        if item.start is not None or item.lr is not None or item in self._source.damaged:
            return b""
        try:
            data = item.path.read_bytes()
        except OSError:
            return b""
        return data if (data.startswith(JPEG_START) or _is_opaque_png(data)) and is_whole(data) else b""


def _pipeline(cfg: DataConfig, feed: Iterator[tuple[list[np.ndarray], list[np.ndarray]]]) -> Any:
    """Encoded files and places -> the squares of crops.Place.square in the pixels of the files, with their sizes after
    the reduction to the limit. The numbers are those of `Place.square` and `at_least`, in DALI's words."""
    has_gpu = torch.cuda.is_available()
    pipeline = dali.Pipeline(
        batch_size=BATCH * cfg.candidates,
        num_threads=max(1, cfg.workers),
        device_id=torch.cuda.current_device() if has_gpu else None,
        prefetch_queue_depth=2,
    )
    double, side = dali_types.FLOAT64, float(cfg.crop)
    with pipeline:
        files, place = fn.external_source(feed, num_outputs=2, dtype=[dali_types.UINT8, double], ndim=[1, 1])
        sides = fn.cast(fn.peek_image_shape(files), dtype=double)[0:2]
        factor = math.min(1.0, place[3] / math.max(sides[0], sides[1]))
        reduced = math.floor(sides * factor + 0.5)
        free = math.max(reduced, side)
        reach = math.min(side * place[2], math.min(free[0], free[1]))
        is_small = fn.cast(reach < side * SMALL_ZOOM, dtype=double)
        span = is_small * side + (1.0 - is_small) * math.floor(reach)
        corner = math.floor(place[0:2] * (free - span + 1.0))
        size = math.min(reduced, span)
        first = math.floor(corner / factor + 0.5)
        pictures = fn.decoders.image_slice(
            files,
            fn.cast(first, dtype=dali_types.INT32),
            fn.cast(math.min(math.floor(size / factor + 0.5), sides - first), dtype=dali_types.INT32),
            device="mixed" if has_gpu else "cpu",
            axis_names="HW",
            output_type=dali_types.RGB,
            # As OpenCV reads them.
            adjust_orientation=False,
            jpeg_fancy_upsampling=True,
        )
        pipeline.set_outputs(pictures, size)
    pipeline.build()
    return pipeline


def _on_host(batch: Any) -> list[Any]:
    tensors = batch.as_cpu() if hasattr(batch, "as_cpu") else batch
    return [np.array(tensors.at(index)) for index in range(len(tensors))]


def _is_opaque_png(data: bytes) -> bool:
    return data.startswith(PNG_HEADER) and data[PNG_COLOR_AT] in PNG_OPAQUE and b"tRNS" not in data[:4096]
