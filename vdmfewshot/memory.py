"""How a frozen model is made to fit: what costs time to save memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn


@dataclass(frozen=True)
class MemoryArgs:
    """What may cost time to save memory."""

    checkpointing: Literal["none", "full"] = "none"
    """Recompute activations in the backward pass: about half the memory, 1.5 times the time."""
    vae_tiling: bool = False
    """Encode and decode in tiles, for frames that do not fit otherwise."""


def blocks_of(denoiser: Any) -> nn.ModuleList:
    """The repeated blocks of a diffusers video transformer, whatever the family calls them."""
    return max((m for m in denoiser.children() if isinstance(m, nn.ModuleList)), key=len)
