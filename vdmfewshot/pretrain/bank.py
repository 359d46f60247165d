"""Encodes corpus clips once into a bank of latents, since encoding costs as much as a training step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX
from safetensors.torch import save_file
from torch import Tensor

from vdmfewshot.pretrain.corpus import clip
from vdmfewshot.pretrain.data import to_unit


@torch.inference_mode()
def encode_clips(vae: AutoencoderKLCogVideoX, pixels: Tensor) -> Tensor:
    """Encode (B, 3, 9, S, S) pixels in -1..1 to (B, 4, 16, S/4, S/4): the first frame alone, then the clip.

    The first frame is encoded on its own too, because that is all the model is given when it generates; latents are
    posterior means, not yet scaled.
    """
    with torch.autocast("cpu", torch.bfloat16):
        image = vae.encode(pixels[:, :, :1]).latent_dist.mode()
        video = vae.encode(pixels).latent_dist.mode()
    return torch.cat([image, video], 2).movedim(2, 1)


def make_bank(
    vae_folder: Path, folder: Path, size: int, shards: int, per_shard: int = 512, seed: int = 1, first: int = 0
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
    """
    vae = AutoencoderKLCogVideoX.from_pretrained(vae_folder).eval()
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        path = folder / f"{shard:05d}.safetensors"
        if path.exists():
            continue
        start = first + shard * per_shard
        parts = []
        for low in range(start, start + per_shard, 16):
            frames = np.stack([clip(seed, i, size) for i in range(low, min(low + 16, start + per_shard))])
            parts.append(encode_clips(vae, to_unit(frames)).half())
        partial = path.with_suffix(".part")
        save_file({"latents": torch.cat(parts).contiguous()}, partial)
        partial.rename(path)


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(make_bank)
