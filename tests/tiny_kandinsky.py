"""Tiny random Kandinsky 5 checkpoints, in diffusers layout: real classes, no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    Kandinsky5I2VPipeline,
    Kandinsky5Transformer3DModel,
)
from safetensors.torch import save_file

CHANNELS, TEXT, POOLED, SCALING = 4, 12, 10, 0.7
#: published image-to-video checkpoints are told by a mask which latent is given; a network without is allowed
VARIANTS: dict[str, dict[str, Any]] = {"lite": dict(visual_cond=True), "lite without mask": dict(visual_cond=False)}


def tiny_transformer(variant: str = "lite", seed: int = 0, **settings: Any) -> Kandinsky5Transformer3DModel:
    torch.manual_seed(seed)
    sizes = dict(
        in_visual_dim=CHANNELS,
        out_visual_dim=CHANNELS,
        in_text_dim=TEXT,
        in_text_dim2=POOLED,
        time_dim=16,
        model_dim=32,
        ff_dim=32,
        num_text_blocks=2,
        num_visual_blocks=2,
        axes_dims=(4, 6, 6),
    )
    model = Kandinsky5Transformer3DModel(**{**sizes, **VARIANTS[variant], **settings})
    # Gates start closed, biases and norms at values that hide mistakes of scale and order.
    for name, p in model.named_parameters():
        if p.ndim == 1 or "modulation" in name:
            torch.nn.init.normal_(p, std=0.2)
    return model


def tiny_vae(seed: int = 0) -> AutoencoderKLHunyuanVideo:
    torch.manual_seed(seed)
    return AutoencoderKLHunyuanVideo(
        latent_channels=CHANNELS,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=SCALING,
    )


def tiny_kandinsky(folder: Path, variant: str = "lite", seed: int = 0) -> Path:
    """Write a checkpoint that ``Kandinsky5I2VPipeline.from_pretrained`` reads, and prompt embeddings of two lengths."""
    Kandinsky5I2VPipeline(
        transformer=tiny_transformer(variant, seed),
        vae=tiny_vae(seed),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=10.0),
    ).save_pretrained(folder)
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "prompt_embeds_qwen": (1, 3, TEXT),
        "prompt_embeds_clip": (1, POOLED),
        "negative_prompt_embeds_qwen": (1, 5, TEXT),
        "negative_prompt_embeds_clip": (1, POOLED),
    }
    embeds = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(embeds, folder / "prompt_embeds.safetensors")
    return folder
