"""Batches of latents for the denoiser: clips drawn from rings, changed, encoded, and used a few times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX
from torch import Tensor

from vdmfewshot.pretrain.feed import Feed
from vdmfewshot.pretrain.rings import time_lapse

CHUNK = 256
"""Clips encoded at once."""


@dataclass(frozen=True)
class Diet:
    """One kind of batch.

    Attributes:
        size: Side of the frames in pixels.
        lapse: One-frame mode, clips of first and last frame; else whole clips of nine frames.
        share: Of the batches.
    """

    size: int
    lapse: bool
    share: float


DIETS = (Diet(64, True, 0.45), Diet(64, False, 0.35), Diet(96, True, 0.13), Diet(96, False, 0.07))
"""Most is 64 px, half of it in the one-frame mode, which adaptation uses most; 96 px for boards of many cells."""
TASK_DIETS = (Diet(64, True, 0.7), Diet(64, False, 0.1), Diet(96, True, 0.2))
"""Of corpora with tasks, most is the one-frame mode, in which they are asked."""


@torch.no_grad()
def encode_clips(vae: AutoencoderKLCogVideoX, pixels: Tensor) -> Tensor:
    """Encode (B, 3, F, S, S) pixels in -1..1 to (B, 1 + T, 16, S/4, S/4): the first frame alone, then the clip.

    The first frame is encoded on its own too, because that is all the model is given when it generates; latents are
    posterior means, not yet scaled.
    """
    parts = []
    for chunk in torch.split(pixels, CHUNK):
        image = vae.encode(chunk[:, :, :1]).latent_dist.mode()
        video = vae.encode(chunk).latent_dist.mode()
        parts.append(torch.cat([image, video], 2).movedim(2, 1))
    return torch.cat(parts)


class LatentBatches:
    """Draws batches of every kind; each is encoded once and used ``uses`` times, among others, with other noise."""

    def __init__(
        self, feed: Feed, vae: AutoencoderKLCogVideoX, uses: int, rng: torch.Generator, shelf: int = 16
    ) -> None:
        """Draw from the rings of a feed.

        Args:
            feed: Clips.
            vae: Encodes.
            uses: How often a batch is used.
            rng: Draws clips, on their device.
            shelf: Batches of each kind that wait for their next use.
        """
        self.feed, self.vae, self.uses, self.rng, self.shelf = feed, vae, uses, rng, shelf
        self.choices = np.random.default_rng(rng.initial_seed())  # on the CPU: a choice must not wait for the device
        self.diets = DIETS if feed.pool.corpus == "video" else TASK_DIETS
        self.waiting: dict[Diet, list[tuple[Tensor, int]]] = {}

    def batch(self, count: int) -> Tensor:
        """(B, 1 + T, 16, h, w) of one kind; B is ``count`` for 64 px and less for larger clips."""
        diet = self._diet()
        waiting = self.waiting.setdefault(diet, [])
        fresh = len(waiting) < self.shelf and self.choices.random() < 1 / self.uses
        if fresh or not waiting:
            waiting.append((self._encode(diet, count), 0))
        latents, used = waiting.pop(-1 if fresh else int(self.choices.integers(len(waiting))))
        if used + 1 < self.uses:
            waiting.append((latents, used + 1))
        return latents

    def forget(self) -> None:
        """Drop the batches that wait."""
        self.waiting.clear()

    def _diet(self) -> Diet:
        diets = [diet for diet in self.diets if self.feed.rings[diet.size].filled]
        shares = np.array([diet.share for diet in diets])
        return diets[int(self.choices.choice(len(diets), p=shares / shares.sum()))]

    def _encode(self, diet: Diet, count: int) -> Tensor:
        clips = self.feed.draw(diet.size, max(1, count * 64**2 // diet.size**2), self.rng)
        with torch.autocast(clips.device.type, enabled=False):  # its weights are in bfloat16 where that is fast
            return encode_clips(self.vae, (time_lapse(clips) if diet.lapse else clips).to(self.vae.dtype))
