"""Checkpoints of true size without weights: the published configurations alone, for estimates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VAE: dict[str, Any] = dict(
    block_out_channels=[128, 256, 256, 512],
    down_block_types=["CogVideoXDownBlock3D"] * 4,
    up_block_types=["CogVideoXUpBlock3D"] * 4,
    latent_channels=16,
    layers_per_block=3,
    norm_num_groups=32,
    sample_height=480,
    sample_width=720,
    scaling_factor=0.7,
    temporal_compression_ratio=4,
)
TRANSFORMER: dict[str, Any] = dict(
    num_attention_heads=48,
    attention_head_dim=64,
    in_channels=32,
    out_channels=16,
    time_embed_dim=512,
    text_embed_dim=4096,
    num_layers=42,
    patch_size=2,
    max_text_seq_length=226,
    use_rotary_positional_embeddings=True,
)
#: zai-org/CogVideoX1.5-5B-I2V and zai-org/CogVideoX-5b-I2V
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "1.5": dict(
        ofs_embed_dim=512, patch_size_t=2, patch_bias=False, sample_frames=81, sample_height=300, sample_width=300
    ),
    "1.0": dict(sample_frames=49, sample_height=60, sample_width=90, use_learned_positional_embeddings=True),
}
VAES: dict[str, dict[str, Any]] = {"1.5": dict(invert_scale_latents=True), "1.0": dict(invert_scale_latents=False)}
SCHEDULER = dict(
    _class_name="CogVideoXDPMScheduler",
    prediction_type="v_prediction",
    rescale_betas_zero_snr=True,
    snr_shift_scale=1.0,
    timestep_spacing="trailing",
)


def true_size_checkpoint(folder: Path, version: str) -> Path:
    """A folder that has everything but weights of the models."""
    parts = {
        "transformer/config": TRANSFORMER | TRANSFORMERS[version],
        "vae/config": VAE | VAES[version],
        "scheduler/scheduler_config": SCHEDULER,
    }
    for name, config in parts.items():
        file = folder / f"{name}.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(config))
    return folder
