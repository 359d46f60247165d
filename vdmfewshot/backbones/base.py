"""The one interface of all video model families."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from vdmfewshot.objective import VPrediction


@dataclass(frozen=True)
class Latents:
    """What the denoiser needs of a clip; everything in it is constant during training and therefore cached.

    Attributes:
        x0: (B, T, C, h, w) scaled video latents, T padded as the family demands.
        condition: (B, T, C, h, w) scaled first-frame latents, zero where there is no condition.
    """

    x0: Tensor
    condition: Tensor

    def to(self, device: torch.device | str) -> Latents:
        """The same latents on ``device``."""
        return Latents(*(getattr(self, f.name).to(device) for f in fields(self)))

    @staticmethod
    def cat(parts: Sequence[Latents]) -> Latents:
        """Stack samples into one batch."""
        return Latents(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Latents)))


class Backbone(nn.Module, ABC):
    """A frozen image-to-video diffusion model behind a few methods. It knows its family and no task.

    ``__init__`` stores arguments only; ``check_clip`` reads configuration files only; weights appear in ``load``.
    """

    #: diffusers pipeline class of the family: writes and reads adapters in the diffusers format
    pipeline_class: type[Any]
    #: regular expression for the modules that LoRA adapts by default
    lora_targets: str

    def __init__(self) -> None:
        super().__init__()
        #: name the frozen denoiser and the frozen encoder by content; set by ``load``
        self.fingerprint: str | None = None
        self.encoder_fingerprint: str | None = None

    @abstractmethod
    def check_clip(self, num_frames: int, height: int, width: int) -> None:
        """Refuse clip shapes that the family cannot process, before any weight is read.

        Raises:
            ValueError: naming the rule, the value and the nearest legal values.
        """

    @abstractmethod
    def load(self) -> None:
        """Read the weights and freeze them. Idempotent."""

    @property
    @abstractmethod
    def denoiser(self) -> Any:
        """The network that LoRA adapts (a diffusers model with ``PeftAdapterMixin``)."""

    @property
    @abstractmethod
    def objective(self) -> VPrediction:
        """Noise schedule and regression target."""

    @abstractmethod
    def encode(self, frames: Tensor) -> Latents:
        """Clips (B, F, 3, H, W) in [-1, 1] → latents and first-frame condition. Deterministic: posterior modes."""

    @abstractmethod
    def denoise(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The network's prediction (B, T, C, h, w) at timesteps t (B,), with gradients for the adapter."""

    @abstractmethod
    def generate(
        self, first_frame: Tensor, num_frames: int, generators: Sequence[torch.Generator], steps: int, guidance: float
    ) -> Tensor:
        """What follows an image; equal to the family's stock diffusers image-to-video pipeline, bit for bit.

        Args:
            first_frame: (B, 3, H, W) in [-1, 1].
            num_frames: F, legal by ``check_clip``.
            generators: B generators, one a sample, so that results do not depend on the batch.
            steps: denoising steps.
            guidance: classifier-free guidance scale; 1.0 is off and halves the cost.

        Returns:
            (B, F', 3, H, W) in [-1, 1]; F' is what the stock pipeline returns, which may exceed F.
        """

    @abstractmethod
    def probe(self) -> Tensor:
        """The denoiser's output on one fixed random input of the smallest legal shape: equal weights, equal output."""

    @abstractmethod
    def reconstruct(self, frames: Tensor) -> Tensor:
        """Clips (B, F, 3, H, W) through encoder and decoder: the best that any prediction can look like."""


def fingerprint(model: nn.Module, config: dict[str, Any]) -> str:
    """Name weights by content: SHA-256 (16 hex digits) of config and of 16 values of every tensor, as bf16.

    Independent of file layout and of whether the model was loaded in fp32 or bf16, and quick for billions of weights.
    """
    plain = {k: v for k, v in config.items() if not k.startswith("_")}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().flatten()
        stride = max(1, flat.numel() // 16)
        values = flat[::stride][:16].to("cpu", torch.bfloat16).float()
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + values.numpy().tobytes())
    return digest.hexdigest()[:16]
