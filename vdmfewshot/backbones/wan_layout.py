"""What the configuration files of a Wan checkpoint say of its kind; no weight is read."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vdmfewshot.backbones.checkpoint import Checkpoint, check_frames, check_side


@dataclass(frozen=True)
class WanLayout:
    """How a checkpoint is given the first frame, and how many networks denoise.

    Attributes:
        given_latent: the first latent is the image's own, clean and at timestep 0 (diffusers' ``expand_timesteps``);
            else mask and image latents are concatenated on channels.
        trained_so: the checkpoint itself says ``expand_timesteps``: it has seen timesteps per token.
        clip: the network attends to a CLIP embedding of the image.
        boundary_ratio: noise level σ from which on ``transformer`` denoises, and ``transformer_2`` below; ``None`` for
            one network.
        stride: frames per latent, after the first frame.
        multiples: of which height and width must be: patches tile the latents, and 16 is the stock pipeline's check.
    """

    given_latent: bool
    trained_so: bool
    clip: bool
    boundary_ratio: float | None
    stride: int
    multiples: tuple[int, int]

    @classmethod
    def read(cls, checkpoint: Checkpoint) -> WanLayout:
        """Read ``config.json`` of transformer and VAE, and ``model_index.json``.

        Raises:
            FileNotFoundError: if one of them is missing.
            ValueError: if the checkpoint is not for image-to-video with one image.
        """
        transformer, vae, pipeline = (checkpoint.config(part) for part in ("transformer", "vae", "pipeline"))
        channels, latents = int(transformer["in_channels"]), int(vae.get("z_dim", 16))
        stride = int(vae.get("scale_factor_temporal", 4))
        concatenated = 2 * latents + stride
        trained_so = bool(pipeline.get("expand_timesteps"))
        if channels not in ({latents} if trained_so else {latents, concatenated}):
            raise ValueError(
                f"transformer.in_channels must be {latents} (first latent given) or {concatenated} (mask and image "
                f"latents on channels) for Wan image-to-video, got {channels} in {checkpoint.path!r}"
            )
        if transformer.get("pos_embed_seq_len"):
            raise ValueError(f"{checkpoint.path!r} continues from a first and a last frame; use an I2V checkpoint")
        spatial, patch = int(vae.get("scale_factor_spatial", 8)), transformer["patch_size"]
        return cls(
            given_latent=channels == latents,
            trained_so=trained_so,
            clip=bool(transformer.get("image_dim")),
            boundary_ratio=pipeline.get("boundary_ratio"),
            stride=stride,
            multiples=(math.lcm(16, spatial * patch[1]), math.lcm(16, spatial * patch[2])),
        )

    def check_shape(self, num_frames: int, height: int, width: int) -> None:
        """Refuse clips that VAE, patches or the stock pipeline cannot process.

        Raises:
            ValueError: naming the rule, the value and the nearest legal values.
        """
        check_frames(num_frames, self.stride, "Wan")
        for name, side, multiple in zip(("height", "width"), (height, width), self.multiples, strict=True):
            check_side(name, side, multiple, "this checkpoint")

    def check_expert(self, expert: str) -> None:
        """Refuse an expert that is not there.

        Raises:
            ValueError: for ``low_noise`` with one network.
        """
        if expert == "low_noise" and self.boundary_ratio is None:
            raise ValueError("expert must be high_noise for a checkpoint with one network, got low_noise")


def check_flow(checkpoint: Checkpoint) -> None:
    """Refuse schedulers of the right class that are not set to flow matching with a fixed shift.

    Raises:
        ValueError: naming setting and value.
    """
    config = checkpoint.config("scheduler")
    rules = {"use_dynamic_shifting": False}
    if config.get("_class_name") == "UniPCMultistepScheduler":
        rules |= {"use_flow_sigmas": True}
    for name, expected in rules.items():
        if bool(config.get(name)) is not expected:
            raise ValueError(f"scheduler.{name} must be {expected} for Wan, got {config.get(name)} in scheduler_config")
