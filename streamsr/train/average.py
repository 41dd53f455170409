"""The running average of the generator's weights: what is validated and exported."""

from __future__ import annotations

import copy

import torch

from streamsr.models.registry import Module


class Average:
    """`module` follows `source` with `decay` (0: it is its copy after every update). Same device, fp32, eval mode.

    With `ramp` the average is short at first, min(decay, (1 + step) / (10 + step)): it does not carry the fresh
    weights along for the first thousand steps."""

    def __init__(self, source: Module, decay: float, *, ramp: bool) -> None:
        self.module = copy.deepcopy(source).requires_grad_(False).eval()
        self._source, self._decay, self._ramp = source, decay, ramp

    @torch.no_grad()
    def update(self, step: int) -> None:
        """To be called after step number `step` (from 0) of the optimiser."""
        decay = min(self._decay, (1 + step) / (10 + step)) if self._ramp else self._decay
        torch._foreach_lerp_(list(self.module.parameters()), list(self._source.parameters()), 1 - decay)
