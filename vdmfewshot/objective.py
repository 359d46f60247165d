"""The training objective as pure functions of tensors; the letters are those of the papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vdmfewshot.rng import named_generator


def append_dims(v: Tensor, x: Tensor) -> Tensor:
    """Reshape (B,) ``v`` so that it broadcasts against (B, ...) ``x``."""
    return v.view(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class VPrediction:
    """Velocity prediction (Salimans & Ho 2022, eq. 11) on a discrete schedule, the objective of CogVideoX.

    The unit-weight velocity loss equals CogVideoX's own loss: the x₀ error weighted by 1 / (1 - ᾱ).

    Attributes:
        alphas_cumprod: (N,) float ᾱ_t of the scheduler, t = 0 … N - 1; ᾱ_{N-1} is 0 for a zero-SNR schedule.
    """

    alphas_cumprod: Tensor

    def timestep(self, u: Tensor) -> Tensor:
        """Uniform u in [0, 1), shape (B,) → integer timesteps in [0, N), shape (B,)."""
        return (u * len(self.alphas_cumprod)).long()

    def corrupt(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = √ᾱ_t x₀ + √(1 - ᾱ_t) ε."""
        alpha, sigma = self._alpha_sigma(x0, t)
        return alpha * x0 + sigma * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """v_t = √ᾱ_t ε - √(1 - ᾱ_t) x₀."""
        alpha, sigma = self._alpha_sigma(x0, t)
        return alpha * eps - sigma * x0

    def _alpha_sigma(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha_bar = append_dims(self.alphas_cumprod.to(x.device, torch.float32)[t], x)
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def loss_per_sample(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over everything but the batch, in fp32: (B, ...) and (B, ...) → (B,)."""
    return (prediction.float() - target.float()).square().flatten(1).mean(1)


def draw_noise(seed: int, ordinals: Sequence[int], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Noise level and noise of training samples, each a pure function of (seed, ordinal).

    Args:
        seed: of the run.
        ordinals: B positions in the run's stream of training samples.
        shape: of one sample's latents.

    Returns:
        u (B,) uniform in [0, 1) and ε (B, *shape) standard normal, fp32 on the CPU.
    """
    generators = [named_generator(seed, "train", n) for n in ordinals]
    u = torch.stack([torch.rand((), generator=g) for g in generators])
    eps = torch.stack([torch.randn(tuple(shape), generator=g) for g in generators])
    return u, eps
