"""Tiny random Wan checkpoints of every published kind, in diffusers layout: real classes, no download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanTransformer3DModel,
)
from safetensors.torch import save_file
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

Z, TEXT, INNER = 6, 8, 24
#: a mask of 4 channels and the image latents beside the noise
CONCATENATED = 2 * Z + 4
#: what differs between the published transformers
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "2.1-i2v-14b": dict(in_channels=CONCATENATED, image_dim=16, added_kv_proj_dim=INNER),
    "2.1-t2v-1.3b": dict(in_channels=Z),
    "2.2-ti2v-5b": dict(in_channels=Z),
    "2.2-i2v-a14b": dict(in_channels=CONCATENATED),
}
VAES: dict[str, dict[str, Any]] = {variant: {} for variant in TRANSFORMERS} | {
    "2.2-ti2v-5b": dict(is_residual=True, in_channels=12, out_channels=12, patch_size=2, scale_factor_spatial=16)
}
#: settings in model_index.json; text-to-video checkpoints know nothing of images
PIPELINES: dict[str, dict[str, Any]] = {
    "2.1-i2v-14b": {},
    "2.1-t2v-1.3b": {},
    "2.2-ti2v-5b": {"expand_timesteps": True},
    "2.2-i2v-a14b": {"boundary_ratio": 0.9},
}
VARIANTS = tuple(TRANSFORMERS)


def tiny_transformer(variant: str, seed: int = 0) -> WanTransformer3DModel:
    torch.manual_seed(seed)
    model = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=INNER // 2,
        out_channels=Z,
        text_dim=TEXT,
        freq_dim=16,
        ffn_dim=16,
        num_layers=2,
        rope_max_seq_len=32,
        **TRANSFORMERS[variant],
    )
    # The default initialisation leaves biases and norms at values that hide mistakes of scale and order.
    for p in model.parameters():
        if p.ndim == 1:
            torch.nn.init.normal_(p, std=0.2)
    return model


def tiny_vae(variant: str, seed: int = 0) -> AutoencoderKLWan:
    torch.manual_seed(seed)
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=Z,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.1 * i for i in range(Z)],
        latents_std=[0.5 + 0.1 * i for i in range(Z)],
        **VAES[variant],
    )


def tiny_clip(seed: int = 0) -> CLIPVisionModel:
    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )
    return CLIPVisionModel(config).eval()


def scheduler(euler: bool) -> Any:
    if euler:
        return FlowMatchEulerDiscreteScheduler(shift=5.0)
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


def tiny_wan(folder: Path, variant: str, euler: bool = False, seed: int = 0) -> Path:
    """Write a checkpoint that ``WanImageToVideoPipeline.from_pretrained`` reads, and a prompt embedding."""
    parts: dict[str, Any] = {"image_encoder": None, "image_processor": None}
    if "image_dim" in TRANSFORMERS[variant]:
        processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
        parts = {"image_encoder": tiny_clip(seed), "image_processor": processor}
    if "boundary_ratio" in PIPELINES[variant]:
        parts["transformer_2"] = tiny_transformer(variant, seed + 1)
    WanImageToVideoPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=tiny_vae(variant, seed),
        transformer=tiny_transformer(variant, seed),
        scheduler=scheduler(euler),
        **parts,
        **PIPELINES[variant],
    ).save_pretrained(folder)
    generator = torch.Generator().manual_seed(seed)
    embeds = {n: torch.randn(1, 512, TEXT, generator=generator) for n in ("prompt_embeds", "negative_prompt_embeds")}
    save_file(embeds, folder / "prompt_embeds.safetensors")
    return folder


def change(folder: Path, part: str, **settings: Any) -> None:
    """Change values in a configuration file of a checkpoint."""
    file = folder / part
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
