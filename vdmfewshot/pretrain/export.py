"""``python -m vdmfewshot.pretrain.export CHECKPOINT FOLDER``: a run's averaged weights as a pipeline folder."""

from __future__ import annotations

from pathlib import Path

import diffusers

from vdmfewshot.pretrain import shards
from vdmfewshot.pretrain.models import from_checkpoint, write_pipeline


def export(checkpoint: Path, folder: Path) -> None:
    """Write the pipeline folder of a checkpoint; ``vdmfewshot ... --model.backbone.path FOLDER`` uses it.

    Args:
        checkpoint: Folder that a run wrote to, or its files copied elsewhere.
        folder: Where the pipeline goes.

    Raises:
        ValueError: If the denoiser has not been trained yet.
    """
    diffusers.utils.logging.set_verbosity_error()
    tensors, state = shards.load(checkpoint)
    vae, transformer = from_checkpoint(tensors, state)
    if transformer is None:
        raise ValueError(f"{checkpoint} was stopped in the autoencoder's stage, step {state['step']}; "
                         f"go on with run --resume {checkpoint}")  # fmt: skip
    vae.register_to_config(scaling_factor=state["scaling_factor"], invert_scale_latents=True)
    write_pipeline(folder, vae, transformer)
    print(f"{folder}: step {state['step']}, {state['clips']} clip draws")  # noqa: T201


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(export)
