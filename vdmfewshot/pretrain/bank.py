"""Encodes corpus clips once into a bank of latents, since encoding costs as much as a training step."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX
from safetensors.torch import save_file
from torch import Tensor

from vdmfewshot.pretrain.corpus import clip
from vdmfewshot.pretrain.data import to_unit

BATCH = 4
"""Clips encoded at once; larger batches fall out of the caches."""


@torch.inference_mode()
def encode_clips(vae: AutoencoderKLCogVideoX, pixels: Tensor) -> Tensor:
    """Encode (B, 3, 9, S, S) pixels in -1..1 to (B, 4, 16, S/4, S/4): the first frame alone, then the clip.

    The first frame is encoded on its own too, because that is all the model is given when it generates; latents are
    posterior means, not yet scaled.
    """
    image = vae.encode(pixels[:, :, :1]).latent_dist.mode()
    video = vae.encode(pixels).latent_dist.mode()
    return torch.cat([image, video], 2).movedim(2, 1)


def make_bank(
    vae_folder: Path,
    folder: Path,
    size: int,
    shards: int,
    per_shard: int = 512,
    seed: int = 1,
    first: int = 0,
    bf16: bool = False,
) -> None:
    """Write shards of latents, skipping those that exist, so that an interrupted run goes on.

    Args:
        vae_folder: A saved autoencoder.
        folder: Where shards go.
        size: Side of the clips in pixels.
        shards: Number of shards.
        per_shard: Clips in each.
        seed: Names the corpus.
        first: Index of the first clip, so that banks of several sizes share no clip.
        bf16: Encode in bfloat16: faster on processors that calculate in it, fifty times slower on those that do not.
    """
    cv2.setNumThreads(1)
    vae = AutoencoderKLCogVideoX.from_pretrained(vae_folder).eval()
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        path = folder / f"{shard:05d}.safetensors"
        if path.exists():
            continue
        start = first + shard * per_shard
        parts, since = [], time.monotonic()
        for low in range(start, start + per_shard, BATCH):
            frames = np.stack([clip(seed, i, size) for i in range(low, min(low + BATCH, start + per_shard))])
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                parts.append(encode_clips(vae, to_unit(frames)).half())
        partial = path.with_suffix(".part")
        save_file({"latents": torch.cat(parts).contiguous()}, partial)
        partial.rename(path)
        seconds = time.monotonic() - since
        left = (shards - shard - 1) * seconds / 60
        print(f"{path.name}: {per_shard / seconds:.1f} clips/s, {left:.1f} min left", flush=True)  # noqa: T201


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(make_bank)
