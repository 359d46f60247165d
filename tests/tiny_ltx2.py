"""Tiny random LTX-2 checkpoints, in diffusers layout: real classes, no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2ImageToVideoPipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
from safetensors.torch import save_file

CHANNELS, CAPTION, LAYERS, TOKENS, AUDIO = 8, 16, 3, 8, 4
SHIFTING = dict(
    use_dynamic_shifting=True,
    base_shift=0.95,
    max_shift=2.05,
    base_image_seq_len=1024,
    max_image_seq_len=4096,
    shift_terminal=0.1,
)
#: what differs between versions: 2.3 has gates, modulates cross attention and projects prompts in the connectors
VERSIONS: dict[str, dict[str, Any]] = {
    "2.0": {},
    "2.3": dict(
        gated_attn=True,
        cross_attn_mod=True,
        audio_gated_attn=True,
        audio_cross_attn_mod=True,
        use_prompt_embeddings=False,
        perturbed_attn=True,
    ),
}


def tiny_transformer(version: str = "2.0", seed: int = 0) -> LTX2VideoTransformer3DModel:
    torch.manual_seed(seed)
    return LTX2VideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        audio_in_channels=AUDIO,
        audio_out_channels=AUDIO,
        audio_num_attention_heads=2,
        audio_attention_head_dim=8,
        audio_cross_attention_dim=16,
        num_layers=2,
        caption_channels=CAPTION,
        rope_type="split",
        **VERSIONS[version],
    )


def tiny_vae(seed: int = 0) -> AutoencoderKLLTX2Video:
    torch.manual_seed(seed)
    vae = AutoencoderKLLTX2Video(
        latent_channels=CHANNELS,
        block_out_channels=(4, 8, 8, 16),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        scaling_factor=0.8,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    vae.latents_mean.normal_()
    vae.latents_std.uniform_(0.5, 2)
    return vae


def tiny_connectors(version: str = "2.0", seed: int = 0) -> LTX2TextConnectors:
    torch.manual_seed(seed)
    heads = {"video": 4, "audio": 2} if version == "2.3" else {"video": 2, "audio": 2}
    per_modality = dict(per_modality_projections=True, video_hidden_dim=32, audio_hidden_dim=16, proj_bias=True)
    return LTX2TextConnectors(
        caption_channels=CAPTION,
        text_proj_in_factor=LAYERS,
        **{f"{k}_connector_num_attention_heads": v for k, v in heads.items()},
        **{f"{k}_connector_attention_head_dim": 8 for k in heads},
        **{f"{k}_connector_num_layers": 1 for k in heads},
        **{f"{k}_connector_num_learnable_registers": 4 for k in heads},
        rope_type="split",
        **(per_modality if version == "2.3" else {}),
    )


def tiny_audio() -> dict[str, Any]:
    torch.manual_seed(0)
    vae = AutoencoderKLLTX2Audio(
        base_channels=AUDIO, ch_mult=(1,), num_res_blocks=1, resolution=32, latent_channels=2, mel_bins=8
    )
    vocoder = LTX2Vocoder(
        in_channels=16,
        hidden_channels=32,
        upsample_kernel_sizes=[4, 4],
        upsample_factors=[2, 2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
    )
    return {"audio_vae": vae, "vocoder": vocoder}


@torch.no_grad()
def tiny_ltx2(folder: Path, version: str = "2.0", seed: int = 0) -> Path:
    """Write a checkpoint that the stock pipeline's ``from_pretrained`` reads, and embeddings before and after it."""
    connectors = tiny_connectors(version, seed)
    LTX2ImageToVideoPipeline(
        transformer=tiny_transformer(version, seed),
        vae=tiny_vae(seed),
        connectors=connectors,
        text_encoder=None,
        tokenizer=None,
        scheduler=FlowMatchEulerDiscreteScheduler(**SHIFTING),
        **tiny_audio(),
    ).save_pretrained(folder)
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for prefix, padding in (("", 3), ("negative_", 6)):
        embeds = torch.randn(1, TOKENS, CAPTION * LAYERS, generator=generator)
        mask = torch.ones(1, TOKENS, dtype=torch.int64)
        mask[:, :padding] = 0
        tensors |= {f"{prefix}prompt_embeds": embeds, f"{prefix}prompt_attention_mask": mask}
        names = ("video_prompt_embeds", "audio_prompt_embeds", "prompt_embeds_mask")
        results = connectors(embeds, mask, padding_side="left")
        tensors |= {f"{prefix}{name}": result for name, result in zip(names, results, strict=True)}
    save_file(tensors, folder / "prompt_embeds.safetensors")
    return folder
