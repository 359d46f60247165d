"""Tiny random CogVideoX checkpoints of every published shape, in diffusers layout: real classes, no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXTransformer3DModel,
)
from safetensors.torch import save_file

TEXT = dict(max_text_seq_length=4, text_embed_dim=8)
#: what differs between the published checkpoints
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "1.5": dict(patch_size_t=2, ofs_embed_dim=16, patch_bias=False, use_rotary_positional_embeddings=True),
    "1.0": dict(use_rotary_positional_embeddings=True),
    "1.0-learned": dict(use_rotary_positional_embeddings=True, use_learned_positional_embeddings=True),
    "1.0-sincos": dict(use_rotary_positional_embeddings=False),
}
VAES: dict[str, dict[str, Any]] = {
    "1.5": dict(invert_scale_latents=True, scaling_factor=0.7),
    "1.0": dict(scaling_factor=0.7),
    "1.0-learned": dict(scaling_factor=0.7),
    "1.0-sincos": dict(scaling_factor=1.15258426),
}
SCHEDULE = dict(
    prediction_type="v_prediction",
    rescale_betas_zero_snr=True,
    timestep_spacing="trailing",
    snr_shift_scale=1.0,
    clip_sample=False,
)


def tiny_transformer(version: str = "1.5", seed: int = 0) -> CogVideoXTransformer3DModel:
    torch.manual_seed(seed)
    model = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=8,
        out_channels=4,
        time_embed_dim=16,
        num_layers=2,
        sample_width=8,
        sample_height=8,
        sample_frames=9,
        patch_size=2,
        **TEXT,
        **TRANSFORMERS[version],
    )
    # The default initialisation leaves adaLN and biases at values that hide mistakes of scale and order.
    for p in model.parameters():
        if p.ndim == 1:
            torch.nn.init.normal_(p, std=0.2)
    return model


def tiny_vae(version: str = "1.5", seed: int = 0) -> AutoencoderKLCogVideoX:
    torch.manual_seed(seed)
    return AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 3,
        up_block_types=("CogVideoXUpBlock3D",) * 3,
        block_out_channels=(4, 4, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        sample_height=32,
        sample_width=32,
        **VAES[version],
    )


def tiny_checkpoint(folder: Path, version: str = "1.5", dpm: bool = False, seed: int = 0) -> Path:
    """Write a checkpoint that ``CogVideoXImageToVideoPipeline.from_pretrained`` reads, and a prompt embedding."""
    scheduler = (CogVideoXDPMScheduler if dpm else CogVideoXDDIMScheduler)(**SCHEDULE)
    CogVideoXImageToVideoPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=tiny_vae(version, seed),
        transformer=tiny_transformer(version, seed),
        scheduler=scheduler,
    ).save_pretrained(folder)
    generator = torch.Generator().manual_seed(seed)
    embeds = {n: torch.randn(1, 4, 8, generator=generator) for n in ("prompt_embeds", "negative_prompt_embeds")}
    save_file(embeds, folder / "prompt_embeds.safetensors")
    return folder
