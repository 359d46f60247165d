"""First frames are encoded once: repeated validation and further attempts find their posterior in memory."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor


class PosteriorMemory:
    """Remembers what a VAE made of an image, by content.

    Stock pipelines draw the latent of the first frame from the posterior, with the sample's generator, after encoding.
    The posterior's parameters are a function of the image alone: with them remembered, the draw gives the same bits.

    Args:
        limit: entries that are kept; the one longest unused goes first.
    """

    def __init__(self, limit: int = 256) -> None:
        self.limit = limit
        self._parameters: OrderedDict[str, Tensor] = OrderedDict()

    @contextmanager
    def of(self, vae: Any) -> Iterator[None]:
        """Within the context, ``vae.encode`` answers from memory where it can."""
        encode = vae.encode

        def remember(x: Tensor) -> AutoencoderKLOutput:
            key = _digest(x)
            if key not in self._parameters:
                self._parameters[key] = encode(x).latent_dist.parameters.to("cpu")
            self._parameters.move_to_end(key)
            while len(self._parameters) > self.limit:
                self._parameters.popitem(last=False)
            return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(self._parameters[key].to(x.device)))

        vae.encode = remember
        try:
            yield
        finally:
            del vae.encode  # of the instance: the method of the class is back

    def __len__(self) -> int:
        return len(self._parameters)


def _digest(x: Tensor) -> str:
    """SHA-256 of the image, and of what else decides how it is encoded: dtype and autocast."""
    kind = x.device.type
    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    pixels = x.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(f"{tuple(x.shape)}{x.dtype}{autocast}".encode() + pixels).hexdigest()
