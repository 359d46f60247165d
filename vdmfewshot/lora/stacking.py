"""K adapters side by side in peft's own LoRA layers: matrices of shape (K, r, d), one slice per task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor, nn

from vdmfewshot.lora.adapters import ADAPTER


@dataclass
class Routing:
    """Which samples of the current batch belong to which tasks; shared by all layers of a stack.

    Attributes:
        count: K, tasks of the stack.
        groups: task of each group of neighbouring samples; the groups have one size.
        samples: samples of the batch.
        generators: of dropout, one per task.
    """

    count: int
    groups: tuple[int, ...] = ()
    samples: int = 0
    generators: list[torch.Generator] = field(default_factory=list)

    def route(self, tasks: Sequence[int]) -> None:
        """Take one task per sample of the next batches. Task-major batches of equal parts are the fast ones."""
        runs = [(task, len(list(run))) for task, run in groupby(tasks)]
        even = len({length for _, length in runs}) == 1
        self.groups = tuple(task for task, _ in runs) if even else tuple(tasks)
        self.samples = len(tasks)

    def weights(self, stacked: Tensor, samples: int) -> Tensor:
        """(K, ...) matrices of all tasks → (G, ...), one for each group of a batch of so many samples.

        A guided pipeline runs the network on the batch twice over, as one batch of 2 B samples.

        Raises:
            ValueError: if the batch is not made of whole copies of what was announced to ``route``.
        """
        if not self.samples or samples % self.samples:
            raise ValueError(f"a stack was told of {self.samples} samples and got {samples}; route them first")
        groups = self.groups * (samples // self.samples)
        return stacked if groups == tuple(range(self.count)) else stacked[list(groups)]


class StackedLinear(nn.Module):
    """K linear maps without bias, each for the samples of its own task; stands where peft has its A or its B.

    Args:
        weight: (K, out, in).
        routing: of the stack.
    """

    def __init__(self, weight: Tensor, routing: Routing) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.routing = routing

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..., in) → (B, ..., out), as one batched product over tasks."""
        weight = self.routing.weights(self.weight, x.shape[0])
        y = torch.bmm(x.reshape(len(weight), -1, x.shape[-1]), weight.mT)
        return y.view(*x.shape[:-1], y.shape[-1])

    def added_to(self, result: Tensor, x: Tensor) -> Tensor:
        """``result + self(x)`` in one pass over memory."""
        weight = self.routing.weights(self.weight, x.shape[0])
        flat, x = (part.reshape(len(weight), -1, part.shape[-1]) for part in (result.to(x.dtype), x))
        return torch.baddbmm(flat, x, weight.mT).view(result.shape)


class StackedDropout(nn.Module):
    """Dropout whose masks come from one generator per task: those of the task trained alone, on a CPU."""

    def __init__(self, p: float, routing: Routing) -> None:
        super().__init__()
        self.p = p
        self.routing = routing

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...), task-major with B / K samples of each task, in training; everything passes otherwise."""
        if not self.training:
            return x
        masks = [
            torch.empty_like(part).bernoulli_(1 - self.p, generator=generator).div_(1 - self.p)
            for part, generator in zip(x.chunk(self.routing.count), self.routing.generators, strict=True)
        ]
        return x * torch.cat(masks)


class StackedVariant(LoraVariant):  # type: ignore[misc]  # mypy skips peft
    """peft's hook for layers that compute their update in another way: here without a copy of the layer's output."""

    @staticmethod
    def forward(module: Any, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any) -> Tensor:
        """``result`` (B, ..., out) of the frozen layer plus (alpha / rank) B A x, per task."""
        a, b, dropout = _parts(module)
        updated: Tensor = b.added_to(result, a(dropout(x)) * module.scaling[active_adapter])
        return updated


class Stack:
    """The adapter of a denoiser, K times: one copy per task in one tensor per matrix.

    peft's layers stay and compute; only the matrices within them are exchanged, so that everything that knows peft
    (export, verification, loading) works on task k within ``alone(k)``.

    Args:
        model: denoiser with an injected adapter, from which every task starts.
        count: K.

    Raises:
        ValueError: if the adapter has layers other than linear ones.
    """

    def __init__(self, model: Any, count: int) -> None:
        self.count = count
        self.routing = Routing(count)
        found = {name: module for name, module in model.named_modules() if ADAPTER in getattr(module, "lora_A", ())}
        other = [name for name, module in found.items() if not isinstance(module.lora_A[ADAPTER], nn.Linear)]
        if other:
            raise ValueError(f"a stack adapts linear layers only; take {other[0]} out of lora.targets")
        self._layers = list(found.values())
        self._single = [_parts(layer) for layer in self._layers]
        self._stacked = [self._repeat(*parts) for parts in self._single]
        self._put(self._stacked)

    def route(self, tasks: Sequence[int]) -> None:
        """Say which task each sample of the next batches belongs to."""
        self.routing.route(tasks)

    def seed_dropout(self, seeds: Sequence[int], device: torch.device) -> None:
        """Restart the dropout of every task."""
        self.routing.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All stacked matrices, each (K, out, in)."""
        return [part.weight for a, b, _ in self._stacked for part in (a, b)]

    @contextmanager
    def alone(self, task: int) -> Iterator[None]:
        """Within, the denoiser holds the ordinary peft adapter of one task; what changes in it is kept."""
        pairs = [
            (single, stacked)
            for singles, stacks in zip(self._single, self._stacked, strict=True)
            for single, stacked in zip(singles[:2], stacks[:2], strict=True)
        ]
        with torch.no_grad():
            for single, stacked in pairs:
                single.weight.data = stacked.weight[task].to(single.weight.dtype, copy=True)
        self._put(self._single)
        try:
            yield
            with torch.no_grad():
                for single, stacked in pairs:
                    stacked.weight[task] = single.weight
        finally:
            self._put(self._stacked)

    @torch.no_grad()
    def gradient_norms(self) -> Tensor:
        """(K,) norm of each task's gradient over all its matrices."""
        norms = [torch.linalg.vector_norm(p.grad, dim=(1, 2)) for p in self.parameters if p.grad is not None]
        total: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        return total

    @torch.no_grad()
    def clip_gradients(self, max_norm: float) -> None:
        """``torch.nn.utils.clip_grad_norm_`` for each task on its own: a task's large gradient shrinks no other's."""
        factors = (max_norm / (self.gradient_norms() + 1e-6)).clamp(max=1.0)
        for p in self.parameters:
            if p.grad is not None:
                p.grad.mul_(factors.view(-1, 1, 1))

    def clear_gradients(self, tasks: Sequence[int]) -> None:
        """Set the gradients of some tasks to 0, whatever they were."""
        for p in self.parameters:
            if p.grad is not None:
                p.grad[list(tasks)] = 0

    def copy(self, tasks: Sequence[int]) -> list[Tensor]:
        """The matrices of some tasks, to be put back by ``restore``."""
        return [p.detach()[list(tasks)] for p in self.parameters]

    @torch.no_grad()
    def restore(self, tasks: Sequence[int], kept: Sequence[Tensor]) -> None:
        """Undo whatever has happened to some tasks since ``copy``."""
        for p, values in zip(self.parameters, kept, strict=True):
            p[list(tasks)] = values

    def _repeat(self, a: Any, b: Any, dropout: Any) -> tuple[Any, Any, Any]:
        matrices = [StackedLinear(part.weight.detach()[None].repeat(self.count, 1, 1), self.routing) for part in (a, b)]
        if isinstance(dropout, nn.Dropout):
            dropout = StackedDropout(dropout.p, self.routing).train(dropout.training)
        return matrices[0], matrices[1], dropout

    def _put(self, parts: Sequence[tuple[Any, Any, Any]]) -> None:
        for layer, (a, b, dropout) in zip(self._layers, parts, strict=True):
            layer.lora_A[ADAPTER], layer.lora_B[ADAPTER], layer.lora_dropout[ADAPTER] = a, b, dropout
            layer.lora_variant.pop(ADAPTER, None)
            if isinstance(a, StackedLinear):
                layer.lora_variant[ADAPTER] = StackedVariant


def _parts(layer: Any) -> tuple[Any, Any, Any]:
    return layer.lora_A[ADAPTER], layer.lora_B[ADAPTER], layer.lora_dropout[ADAPTER]
