"""Muon for the weight matrices and AdamW for the rest, as one optimizer, so that Lightning counts one step a step."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

COEFFICIENTS = ((3.4445, -4.7750, 2.0315),) * 5
"""Quintic Newton-Schulz polynomials of Muon (Jordan et al. 2024), one a step."""


def orthogonalize(matrices: Tensor) -> Tensor:
    """Push the singular values of (N, rows, columns) matrices towards one by quintic Newton-Schulz iterations.

    The iteration runs on the small Gram matrices, G <- P G P with P = a + b G + c G^2, and the product of all P meets
    the matrices once at the end: two thirds of the arithmetic for matrices of 1:4. Single precision throughout, since
    processors without bfloat16 arithmetic take fifty times as long for it.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).float()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    gram: Tensor = x @ x.mT
    product: Tensor | None = None
    for step, (a, b, c) in enumerate(COEFFICIENTS):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        product = polynomial if product is None else polynomial @ product
        if step + 1 < len(COEFFICIENTS):
            gram = polynomial @ gram @ polynomial
    assert product is not None
    result: Tensor = product @ x
    return (result.mT if tall else result).to(matrices.dtype)


def split_parameters(model: nn.Module, pattern: str) -> list[dict[str, Any]]:
    """Group a model's weights: matrices and kernels whose name matches ``pattern`` for Muon, the rest for AdamW."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if p.ndim >= 2 and re.search(pattern, name)]
    chosen = {id(p) for p in matrices}
    return [{"params": matrices, "muon": True}, {"params": [p for _, p in named if id(p) not in chosen], "muon": False}]


class MuonAdamW(Optimizer):
    """Muon with Nesterov momentum where a group says ``muon``, else AdamW; one rate serves both.

    Muon's updates are scaled to the root mean square that AdamW's have, and matrices of one shape are
    orthogonalised together; kernels (out, in, ...) count as matrices (out, in * ...).
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.01,
        muon_scale: float = 3.0,
    ) -> None:
        """Set defaults; ``muon_scale`` multiplies the rate of Muon groups."""
        super().__init__(params, {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay,
                                  "muon_scale": muon_scale, "muon": False})  # fmt: skip

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all groups."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            active = [p for p in group["params"] if p.grad is not None]
            (self._muon if group["muon"] else self._adamw)(active, group)
        return loss

    def _muon(self, params: list[Tensor], group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for p in params:
            by_shape.setdefault(p.shape, []).append(p)
        for shape, same in by_shape.items():
            directions = []
            for p in same:
                assert p.grad is not None
                average = self.state[p].setdefault("momentum", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                directions.append(p.grad.lerp(average, group["momentum"]).flatten(1))
            updates = orthogonalize(torch.stack(directions))
            rate = group["lr"] * group["muon_scale"]
            scale = 0.2 * max(updates.shape[1:]) ** 0.5 * rate
            for p, update in zip(same, updates, strict=True):
                p.mul_(1 - rate * group["weight_decay"]).add_(update.view(shape), alpha=-scale)

    def _adamw(self, params: list[Tensor], group: dict[str, Any]) -> None:
        first, second = group["betas"]
        for p in params:
            assert p.grad is not None
            state = self.state[p]
            if not state:
                state.update(step=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
            state["step"] += 1
            state["mean"].lerp_(p.grad, 1 - first)
            state["square"].mul_(second).addcmul_(p.grad, p.grad, value=1 - second)
            scale = (1 - second ** state["step"]) ** 0.5 / (1 - first ** state["step"])
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.addcdiv_(state["mean"], state["square"].sqrt().add_(1e-8), value=-group["lr"] * scale)
