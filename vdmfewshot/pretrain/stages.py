"""What is trained in a run: the autoencoder on crops, then the denoiser on latents."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from torch import Tensor

from vdmfewshot.pretrain import transformer, vae
from vdmfewshot.pretrain.corpus import clip, to_unit
from vdmfewshot.pretrain.feed import Feed
from vdmfewshot.pretrain.latents import LatentBatches, encode_clips
from vdmfewshot.pretrain.loop import Stage
from vdmfewshot.pretrain.rings import time_lapse


def autoencoder_stage(
    model: AutoencoderKLCogVideoX, feed: Feed, rng: torch.Generator, batch: int, crop: int, new: bool, bf16: bool
) -> Stage:
    """Training of the autoencoder on whole clips, on those of the one-frame mode and on single frames.

    Args:
        model: To be trained.
        feed: Clips.
        rng: Draws them.
        batch: Crops a step.
        crop: Side of the crops in pixels, a multiple of 4.
        new: Whether it has learned nothing yet; a trained one moves at a lower rate.
        bf16: Calculate in bfloat16.
    """
    choices = np.random.default_rng(rng.initial_seed() + 1)

    def loss(count: int) -> Tensor:
        sizes = [size for size, ring in feed.rings.items() if ring.filled]
        clips = feed.draw(int(choices.choice(sizes)), count, rng)
        kind = choices.random()
        if kind < 0.2:
            clips = clips[:, :, :1]
        elif kind < 0.5:
            clips = time_lapse(clips)
        y, x = (4 * int(choices.integers((clips.shape[-1] - crop) // 4 + 1)) for _ in range(2))
        crops = clips[..., y : y + crop, x : x + crop].contiguous()
        return vae.autoencoder_loss(model, crops, last=clips.shape[2] == 5)

    model.requires_grad_(True).train()
    groups, lr = vae.muon_groups(model), 2e-3 if new else 6e-4
    return Stage("vae", model, loss, groups, lr=lr, batch=batch, muon_scale=2.0, bf16=bf16)


@torch.no_grad()
def carried(model: AutoencoderKLCogVideoX, count: int, seed: int = 999) -> float:
    """PSNR in dB of clips that no training sees and of their one-frame mode, decoded as it decodes, both alike."""
    clips = to_unit(np.stack([clip(seed, i, 64) for i in range(count)])).to(model.device, model.dtype)
    lapse = time_lapse(clips)
    whole = model.decode(model.encode(clips).latent_dist.mode()).sample
    last = model.decode(model.encode(lapse).latent_dist.mode()[:, :, -1:]).sample
    errors = [(a.clamp(-1, 1) - b).float().square().mean() for a, b in ((whole, clips), (last, clips[:, :, -1:]))]
    return float((10 * torch.log10(4 / torch.stack(errors))).mean())


@torch.no_grad()
def latent_scale(model: AutoencoderKLCogVideoX, feed: Feed, rng: torch.Generator) -> float:
    """One over the standard deviation of the latents."""
    clips = feed.draw(min(feed.rings), 32, rng).to(model.dtype)
    return round(1 / float(encode_clips(model, clips).float().std()), 3)


def denoiser_stage(
    model: CogVideoXTransformer3DModel,
    encoder: AutoencoderKLCogVideoX,
    feed: Feed,
    rng: torch.Generator,
    scale: float,
    lr: float,
    batch: int,
    uses: int,
    bf16: bool,
) -> Stage:
    """Training of the denoiser.

    Args:
        model: To be trained.
        encoder: Frozen.
        feed: Clips.
        rng: Draws clips, noise and timesteps.
        scale: The autoencoder's ``scaling_factor``.
        lr: Peak rate of the AdamW part.
        batch: Clips of 64 px a step.
        uses: How often an encoded batch is used.
        bf16: Calculate in bfloat16.
    """
    batches = LatentBatches(feed, encoder, uses, rng)
    objective = transformer.DenoisingLoss(model.config.sample_width, rng.device)

    def loss(count: int) -> Tensor:
        return objective(model, batches.batch(count), scale, rng)

    model.requires_grad_(True).train()
    return Stage(
        "denoiser", model, loss, transformer.muon_groups(model), lr, batch,
        forget=batches.forget, bf16=bf16, blocks=list(model.transformer_blocks),
    )  # fmt: skip
