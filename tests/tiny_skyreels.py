"""Tiny random SkyReels-V2 I2V checkpoints, in diffusers layout: real classes, no download."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import SkyReelsV2ImageToVideoPipeline, SkyReelsV2Transformer3DModel
from safetensors.torch import save_file
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.tiny_wan import CONCATENATED, INNER, TEXT, Z, scheduler, tiny_vae


def tiny_transformer(seed: int = 0) -> SkyReelsV2Transformer3DModel:
    torch.manual_seed(seed)
    model = SkyReelsV2Transformer3DModel(
        num_attention_heads=2,
        attention_head_dim=INNER // 2,
        in_channels=CONCATENATED,
        out_channels=Z,
        text_dim=TEXT,
        freq_dim=16,
        ffn_dim=16,
        num_layers=2,
        rope_max_seq_len=32,
        image_dim=16,
        added_kv_proj_dim=INNER,
    )
    # The default initialisation leaves biases and norms at values that hide mistakes of scale and order.
    for p in model.parameters():
        if p.ndim == 1:
            torch.nn.init.normal_(p, std=0.2)
    return model


def tiny_skyreels(folder: Path, seed: int = 0) -> Path:
    """Write a checkpoint that the stock pipeline's ``from_pretrained`` reads, and a prompt embedding."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes, image_size=16, patch_size=8, projection_dim=8))
    SkyReelsV2ImageToVideoPipeline(
        tokenizer=None,
        text_encoder=None,
        image_encoder=clip.eval(),
        image_processor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        vae=tiny_vae("2.1-i2v-14b", seed),
        transformer=tiny_transformer(seed),
        scheduler=scheduler(euler=False),
    ).save_pretrained(folder)
    generator = torch.Generator().manual_seed(seed)
    embeds = {n: torch.randn(1, 512, TEXT, generator=generator) for n in ("prompt_embeds", "negative_prompt_embeds")}
    save_file(embeds, folder / "prompt_embeds.safetensors")
    return folder
