"""An average of the weights over the last part of a run, whatever its length and the speed of the machine."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average whose memory is a fixed share of the steps so far, at most ``horizon`` steps.

    Early weights are forgotten; after n steps the last ``share`` n of them count most (Karras et al. 2024, section 3.1,
    average over a share of the training, too).
    """

    def __init__(self, model: nn.Module, share: float = 0.1, horizon: int = 2000) -> None:
        """Start from the weights of ``model``."""
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.share, self.horizon, self.count = share, horizon, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the weights of ``model``, after one optimiser step."""
        self.count += 1
        memory = min(1 + self.share * self.count, float(self.horizon))
        averages: list[Tensor] = list(self.module.parameters())
        weights: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(averages, weights, 1 / memory)

    def state(self) -> dict[str, Any]:
        """Tensors by name."""
        return self.module.state_dict()
