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
    assert product is not None, "the coefficients are not empty"
    result: Tensor = product @ x
    return (result.mT if tall else result).to(matrices.dtype)


def orthogonalize_bf16(matrices: Tensor) -> Tensor:
    """`orthogonalize` in bfloat16, for processors that are fast in it: plain iterations, as in ``torch.optim.Muon``.

    The shorter way over the Gram matrices would lose small singular values to rounding.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for a, b, c in COEFFICIENTS:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def split_parameters(model: nn.Module, pattern: str) -> list[dict[str, Any]]:
    """Group a model's weights: matrices and kernels whose name matches ``pattern`` for Muon, the rest for AdamW."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in named if p.ndim >= 2 and re.search(pattern, name)]
    chosen = {id(p) for p in matrices}
    return [{"params": matrices, "muon": True}, {"params": [p for _, p in named if id(p) not in chosen], "muon": False}]


def _gradients(params: list[Tensor]) -> list[Tensor]:
    return [p.grad for p in params if p.grad is not None]


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
        bf16: bool = False,
    ) -> None:
        """Set defaults; ``muon_scale`` multiplies the rate of Muon groups, ``bf16`` iterates in bfloat16."""
        self.orthogonalize = orthogonalize_bf16 if bf16 else orthogonalize
        super().__init__(params, {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay,
                                  "muon_scale": muon_scale, "muon": False})  # fmt: skip

    @torch.no_grad()
    # torch: with a closure the result is a loss
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
        """One Muon step; matrices of one shape go through the iteration together."""
        if not params:
            return
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        grads, momenta = _gradients(params), [self.state[p]["momentum"] for p in params]
        torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
        directions = torch._foreach_lerp(grads, momenta, group["momentum"])
        rate = group["lr"] * group["muon_scale"]
        by_shape: dict[torch.Size, list[int]] = {}
        for number, p in enumerate(params):
            by_shape.setdefault(p.shape, []).append(number)
        for shape, numbers in by_shape.items():
            updates = self.orthogonalize(torch.stack([directions[i].flatten(1) for i in numbers]))
            same = [params[i] for i in numbers]
            torch._foreach_mul_(same, 1 - rate * group["weight_decay"])
            scale = 0.2 * max(updates.shape[1:]) ** 0.5 * rate
            torch._foreach_add_(same, list(updates.view(-1, *shape).unbind()), alpha=-scale)

    def _adamw(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """One AdamW step with few kernels, which is what counts for hundreds of small tensors on a GPU."""
        if not params:
            return
        first, second = group["betas"]
        for p in params:
            if not self.state[p]:
                self.state[p].update(mean=torch.zeros_like(p), square=torch.zeros_like(p))
        group["step"] = group.get("step", 0) + 1
        grads = _gradients(params)
        means, squares = ([self.state[p][name] for p in params] for name in ("mean", "square"))
        torch._foreach_lerp_(means, grads, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, grads, grads, 1 - second)
        scale = (1 - second ** group["step"]) ** 0.5 / (1 - first ** group["step"])
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, 1e-8)
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_addcdiv_(params, means, roots, -group["lr"] * scale)
