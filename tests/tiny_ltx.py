"""Tiny random LTX-Video checkpoints of every published kind, in diffusers layout: real classes, no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    FlowMatchEulerDiscreteScheduler,
    LTXConditionPipeline,
    LTXImageToVideoPipeline,
    LTXVideoTransformer3DModel,
)
from safetensors.torch import save_file

from vdmfewshot.backbones import LtxVideo, LtxVideoCondition

TOKENS, CAPTION, CHANNELS = 4, 8, 8
#: what differs between the published VAEs, as in diffusers' conversion script; the widths are ours
VAES: dict[str, dict[str, Any]] = {
    "0.9.0": dict(
        block_out_channels=(4, 4, 8, 8),
        decoder_block_out_channels=(4, 4, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
    ),
    "0.9.1": dict(
        block_out_channels=(4, 4, 8, 8),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        decoder_spatio_temporal_scaling=(True, True, True),
        decoder_inject_noise=(True, True, True, False),
        upsample_residual=(True, True, True),
        upsample_factor=(2, 2, 2),
        timestep_conditioning=True,
    ),
    "0.9.5": dict(
        block_out_channels=(4, 4, 8, 8, 8),
        down_block_types=("LTXVideo095DownBlock3D",) * 4,
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, True, True),
        decoder_spatio_temporal_scaling=(True, True, True),
        decoder_inject_noise=(False, False, False, False),
        downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        upsample_residual=(True, True, True),
        upsample_factor=(2, 2, 2),
        timestep_conditioning=True,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    ),
}
SHIFTING = dict(
    use_dynamic_shifting=True,
    base_shift=0.95,
    max_shift=2.05,
    base_image_seq_len=1024,
    max_image_seq_len=4096,
    shift_terminal=0.1,
)
BACKBONES: dict[str, type[LtxVideo]] = {"0.9.0": LtxVideo, "0.9.1": LtxVideo, "0.9.5": LtxVideoCondition}


def tiny_transformer(seed: int = 0) -> LTXVideoTransformer3DModel:
    torch.manual_seed(seed)
    return LTXVideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=CAPTION,
        num_layers=2,
    )


def tiny_vae(version: str = "0.9.0", seed: int = 0) -> AutoencoderKLLTXVideo:
    torch.manual_seed(seed)
    # A scaling factor other than the published 1 shows where the stock pipeline uses it and where it does not.
    vae = AutoencoderKLLTXVideo(latent_channels=CHANNELS, scaling_factor=0.8, **VAES[version])
    vae.latents_mean.normal_()
    vae.latents_std.uniform_(0.5, 2)
    for name, p in vae.named_parameters():
        if "per_channel_scale" in name:  # zero at first: noise would be injected without effect
            torch.nn.init.normal_(p, std=0.2)
    return vae


def tiny_ltx(folder: Path, version: str = "0.9.0", seed: int = 0) -> Path:
    """Write a checkpoint that the stock pipeline's ``from_pretrained`` reads, and a prompt embedding with masks."""
    static = version == "0.9.5"
    (LTXConditionPipeline if static else LTXImageToVideoPipeline)(
        tokenizer=None,
        text_encoder=None,
        vae=tiny_vae(version, seed),
        transformer=tiny_transformer(seed),
        scheduler=FlowMatchEulerDiscreteScheduler(**({} if static else SHIFTING)),
    ).save_pretrained(folder)
    generator = torch.Generator().manual_seed(seed)
    embeds = {
        n: torch.randn(1, TOKENS, CAPTION, generator=generator) for n in ("prompt_embeds", "negative_prompt_embeds")
    }
    masks = {"prompt_attention_mask": [1, 1, 1, 0], "negative_prompt_attention_mask": [1, 0, 0, 0]}
    save_file(
        {**embeds, **{n: torch.tensor([m], dtype=torch.bool) for n, m in masks.items()}},
        folder / "prompt_embeds.safetensors",
    )
    return folder
