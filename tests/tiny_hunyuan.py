"""Tiny random HunyuanVideo 1.5 checkpoints, in diffusers layout: real classes, no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo15,
    ClassifierFreeGuidance,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideo15ImageToVideoPipeline,
    HunyuanVideo15Transformer3DModel,
)
from safetensors.torch import save_file
from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

CHANNELS, TEXT, GLYPH, IMAGE, SCALING = 4, 12, 10, 8, 0.7


def tiny_transformer(seed: int = 0, **settings: Any) -> HunyuanVideo15Transformer3DModel:
    torch.manual_seed(seed)
    sizes = dict(
        in_channels=2 * CHANNELS + 1,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_refiner_layers=1,
        mlp_ratio=1.0,
        text_embed_dim=TEXT,
        text_embed_2_dim=GLYPH,
        image_embed_dim=IMAGE,
        rope_axes_dim=(4, 6, 6),
        target_size=48,
    )
    model = HunyuanVideo15Transformer3DModel(**{**sizes, **settings})
    # The default initialisation leaves biases and norms at values that hide mistakes of scale and order.
    for p in model.parameters():
        if p.ndim == 1:
            torch.nn.init.normal_(p, std=0.2)
    return model


def tiny_vae(seed: int = 0) -> AutoencoderKLHunyuanVideo15:
    torch.manual_seed(seed)
    return AutoencoderKLHunyuanVideo15(
        latent_channels=CHANNELS,
        block_out_channels=(8, 8, 16, 16, 16),
        layers_per_block=1,
        scaling_factor=SCALING,
    )


def tiny_siglip(seed: int = 0) -> SiglipVisionModel:
    torch.manual_seed(seed)
    sizes = dict(hidden_size=IMAGE, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    return SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=16, patch_size=8)).eval()


def tiny_hunyuan(folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint that the stock pipeline's ``from_pretrained`` reads, and prompt embeddings with padding."""
    HunyuanVideo15ImageToVideoPipeline(
        transformer=tiny_transformer(seed),
        vae=tiny_vae(seed),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
        image_encoder=tiny_siglip(seed),
        feature_extractor=SiglipImageProcessor(size={"height": 16, "width": 16}),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
    ).save_pretrained(folder)
    generator = torch.Generator().manual_seed(seed)
    embeds = {f"{p}prompt_embeds": torch.randn(1, 6, TEXT, generator=generator) for p in ("", "negative_")}
    embeds |= {f"{p}prompt_embeds_2": torch.randn(1, 5, GLYPH, generator=generator) for p in ("", "negative_")}
    masks = {
        "prompt_embeds_mask": [1, 1, 1, 1, 0, 0],
        "negative_prompt_embeds_mask": [1, 1, 0, 0, 0, 0],
        "prompt_embeds_mask_2": [1, 1, 1, 0, 0],
        "negative_prompt_embeds_mask_2": [0, 0, 0, 0, 0],
    }
    save_file(embeds | {n: torch.tensor([m]) for n, m in masks.items()}, folder / "prompt_embeds.safetensors")
    return folder
