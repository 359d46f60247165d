"""Puts pretrained parts together as a diffusers pipeline folder, the layout of the embedded backbone."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKLCogVideoX

MODEL_INDEX = {
    "_class_name": "CogVideoXImageToVideoPipeline",
    "scheduler": ["diffusers", "CogVideoXDDIMScheduler"],
    "text_encoder": [None, None],
    "tokenizer": [None, None],
    "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLCogVideoX"],
}


def assemble(vae_folder: Path, folder: Path, scaling_factor: float) -> None:
    """Add the autoencoder and the index to a folder that `TransformerPretraining.export` has written.

    Args:
        vae_folder: A saved autoencoder.
        folder: The pipeline folder.
        scaling_factor: One over the standard deviation of its latents, as used to train the denoiser.
    """
    missing = [name for name in ("transformer", "scheduler") if not (folder / name).is_dir()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {missing}; train with the ExportWeights callback first")
    vae = AutoencoderKLCogVideoX.from_pretrained(vae_folder)
    vae.register_to_config(scaling_factor=scaling_factor, invert_scale_latents=True)
    vae.to(torch.bfloat16).save_pretrained(folder / "vae")
    for file in folder.glob("*/config.json"):
        # Where the parts lay on the machine that trained them is nobody's business.
        config = json.loads(file.read_text())
        config.pop("_name_or_path", None)
        file.write_text(json.dumps(config, indent=2) + "\n")
    index = {**MODEL_INDEX, "_diffusers_version": diffusers.__version__}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(assemble)
