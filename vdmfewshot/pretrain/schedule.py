"""Learning-rate shape and weight averaging shared by both pretraining modules."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def wsd(total: int, warmup: int, decay_share: float, floor: float) -> Callable[[int], float]:
    """Warm-up, stable, decay: the factor on the peak rate as a function of the step.

    Args:
        total: Steps in all; the factor stays at ``floor`` after them.
        warmup: Steps of the linear rise.
        decay_share: Share of ``total`` over which the factor falls, linearly.
        floor: Factor at the end.
    """
    decay = max(1, int(total * decay_share))

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / warmup)
        fall = min(1.0, max(0.0, (total - step) / decay))
        return rise * (floor + (1 - floor) * fall)

    return factor


def ema_of(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a model's weights whose decay warms up, so that early weights are forgotten."""

    def average(old: Tensor, new: Tensor, count: int | Tensor) -> Tensor:
        rate = min(decay, (1 + float(count)) / (10 + float(count)))
        return torch.lerp(new, old, rate) if old.is_floating_point() else new

    copied = AveragedModel(model, avg_fn=average)
    copied.requires_grad_(False)
    return copied
