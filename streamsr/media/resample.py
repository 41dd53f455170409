"""Resampling of a stream of audio by torchaudio, piece by piece, with the result of resampling it as a whole."""

from __future__ import annotations

from math import ceil, gcd
from typing import Any

import numpy as np

_FILTER_WIDTH = 6  # torchaudio's default, in zero crossings
_ROLLOFF = 0.99
_PIECE_S = 0.5


class Resampler:
    """From `rate` to `new_rate`, both in Hz. `take` and `finish` return float32 [channels, samples] in order.

    Pieces overlap by the width of the filter, in whole periods of the two rates, so that no seam is left."""

    def __init__(self, rate: int, new_rate: int) -> None:
        from torchaudio.transforms import Resample  # torch is big and is rarely needed here

        divisor = gcd(rate, new_rate)
        self._old, self._new = rate // divisor, new_rate // divisor  # so many samples become so many
        self._resample: Any = Resample(rate, new_rate, lowpass_filter_width=_FILTER_WIDTH, rolloff=_ROLLOFF)
        reach = ceil(_FILTER_WIDTH * self._old / (min(self._old, self._new) * _ROLLOFF)) + 1
        self._margin = ceil(reach / self._old) + 1  # in periods
        self._piece = max(ceil(_PIECE_S * rate / self._old), 2 * self._margin)
        self._pending: np.ndarray | None = None  # begins with `_before` periods that only give context
        self._before = 0

    def take(self, samples: np.ndarray) -> np.ndarray:
        pending = samples if self._pending is None else np.concatenate([self._pending, samples], axis=1)
        self._pending = pending
        periods = pending.shape[1] // self._old
        ready = periods - self._before - self._margin
        if ready < self._piece:
            return np.zeros((samples.shape[0], 0), np.float32)
        result = self._run(pending[:, : periods * self._old])
        result = result[:, self._before * self._new : (self._before + ready) * self._new]
        keep_from = self._before + ready - self._margin
        self._pending = pending[:, keep_from * self._old :].copy()
        self._before = self._margin
        return result

    def finish(self) -> np.ndarray:
        pending, self._pending = self._pending, None
        if pending is None:
            return np.zeros((1, 0), np.float32)
        return self._run(pending)[:, self._before * self._new :]

    def _run(self, samples: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            resampled: np.ndarray = self._resample(torch.from_numpy(np.ascontiguousarray(samples))).numpy()
        return resampled
