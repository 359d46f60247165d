"""The training objective as pure functions of tensors; the letters are those of the papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vdmfewshot.clips.rng import named_generator


def append_dims(v: Tensor, x: Tensor) -> Tensor:
    """Reshape (B,) ``v`` so that it broadcasts against (B, ...) ``x``."""
    return v.view(-1, *[1] * (x.ndim - 1))


def shifted(u: Tensor, s: float) -> Tensor:
    """Map u in [0, 1) to s u / (1 + (s - 1) u), towards 1 for s above 1 (Esser et al. 2024, eq. 23)."""
    return s * u / (1 + (s - 1) * u)


class Objective(Protocol):
    """What is noised how, and what the network is to predict."""

    def timestep(self, u: Tensor, shape: Sequence[int]) -> Tensor:
        """Uniform u in [0, 1), shape (B,) → timesteps in the network's own unit, shape (B,).

        Args:
            u: one number per sample.
            shape: (T, C, h, w) of one sample's latents, for families that draw more noise for larger clips.
        """

    def corrupt(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t of clean latents x₀ and noise ε."""

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the network's prediction at (x_t, t) is compared with."""


@dataclass(frozen=True)
class VPrediction:
    """Velocity prediction (Salimans & Ho 2022, eq. 11) on a discrete schedule, the objective of CogVideoX.

    The unit-weight velocity loss equals CogVideoX's own loss: the x₀ error weighted by 1 / (1 - ᾱ).

    Attributes:
        alphas_cumprod: (N,) float ᾱ_t of the scheduler, t = 0 … N - 1; ᾱ_{N-1} is 0 for a zero-SNR schedule.
        shift: s of u → s u / (1 + (s - 1) u), as in ``FlowMatching``; above 1 more samples are drawn where noise is
            high and the layout of a frame is decided. 1 is CogVideoX's own.
    """

    alphas_cumprod: Tensor
    shift: float = 1.0

    def timestep(self, u: Tensor, shape: Sequence[int] = ()) -> Tensor:
        """Uniform u in [0, 1), shape (B,) → integer timesteps in [0, N), shape (B,), whatever the clip's shape."""
        steps = len(self.alphas_cumprod)
        return (steps * shifted(u, self.shift)).long().clamp(max=steps - 1)  # rounding must not leave the schedule

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


@dataclass(frozen=True)
class FlowMatching:
    """Rectified flow (Liu et al. 2023; Esser et al. 2024, section 3): the objective of LTX-Video and Wan.

    Attributes:
        shift: s of σ = s u / (1 + (s - 1) u), Esser et al. eq. 23; above 1 more samples are drawn where noise is high.
            diffusers' exponential ("dynamic") shift by μ is the same with s = exp(μ).
        num_train_timesteps: t = σ · this.
        sigma_min: of a network that denoises a part of the way only, one expert of several; included.
        sigma_max: the other end, not included. Within [sigma_min, sigma_max) the density of σ is the whole one's.
    """

    shift: float = 1.0
    num_train_timesteps: int = 1000
    sigma_min: float = 0.0
    sigma_max: float = 1.0

    def timestep(self, u: Tensor, shape: Sequence[int] = ()) -> Tensor:
        """Uniform u in [0, 1), shape (B,) → t = 1000 σ in [0, 1000) or a part of it, floating point, shape (B,)."""
        low, high = (sigma / (self.shift - (self.shift - 1) * sigma) for sigma in (self.sigma_min, self.sigma_max))
        u = low + (high - low) * u
        t = self.num_train_timesteps * shifted(u, self.shift)
        ends = [t.new_tensor(sigma * self.num_train_timesteps) for sigma in (self.sigma_min, self.sigma_max)]
        return t.clamp(ends[0], torch.nextafter(ends[1], ends[0]))  # rounding must not cross to another expert

    def corrupt(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = (1 - σ) x₀ + σ ε."""
        sigma = append_dims(t / self.num_train_timesteps, x0)
        return (1 - sigma) * x0 + sigma * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The flow's velocity ε - x₀."""
        return eps - x0


@dataclass(frozen=True)
class LogitNormalFlow(FlowMatching):
    """Rectified flow whose σ is logit-normal (Esser et al. 2024, section 3.1), shifted by the length of the clip.

    σ = sigmoid(μ + Φ⁻¹(u)), with μ linear in the number of latent positions. The logit-normal with mean μ is that with
    mean 0 under the shift s = exp(μ) of ``FlowMatching``. Defaults are those of LTX-Video-Trainer
    (``ShiftedLogitNormalTimestepSampler``), which are also those of LTX-Video's scheduler; like both, no clamping.

    Attributes:
        base_tokens: T·h·w of a clip for which μ is ``base_shift``.
        max_tokens: T·h·w of a clip for which μ is ``max_shift``.
        base_shift: see ``base_tokens``.
        max_shift: see ``max_tokens``.
    """

    base_tokens: int = 1024
    max_tokens: int = 4096
    base_shift: float = 0.95
    max_shift: float = 2.05

    def timestep(self, u: Tensor, shape: Sequence[int] = ()) -> Tensor:
        """Uniform u in [0, 1), shape (B,), for latents (T, C, h, w) → t = 1000 σ in [0, 1000), shape (B,)."""
        frames, _, height, width = shape
        slope = (self.max_shift - self.base_shift) / (self.max_tokens - self.base_tokens)
        mu = self.base_shift + slope * (frames * height * width - self.base_tokens)
        return self.num_train_timesteps * torch.sigmoid(mu + torch.special.ndtri(u))


def loss_per_sample(prediction: Tensor, target: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Mean squared error over everything but the batch, in fp32: (B, ...) and (B, ...) → (B,).

    Args:
        prediction: of the network.
        target: what it is compared with.
        weight: of the squared errors, broadcast against them; of mean 1 in each sample.
    """
    return ((prediction.float() - target.float()).square() * weight).flatten(1).mean(1)


def paint_weight(x0: Tensor, k: float) -> Tensor:
    """Weights (B, 1, 1, h, w) of mean 1 for clean latents (B, T, C, h, w): 1 + k where the last frame is painted on.

    Painted on is what lies further from the frame's most common latent, the median, than a tenth of the largest squared
    distance. Where little is, a mean of the background is a good answer to the plain loss.
    """
    last = x0[:, -1:].float()
    ground = last.flatten(3).median(3).values[..., None, None]
    distance = (last - ground).square().sum(2, keepdim=True)
    weight = 1 + k * (distance > 0.1 * distance.amax((3, 4), keepdim=True))
    return weight / weight.mean((3, 4), keepdim=True)


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
