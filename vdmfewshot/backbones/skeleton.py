"""A backbone without weights: every part built from its configuration on the meta device, to count what it costs."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from vdmfewshot.backbones.base import Backbone
from vdmfewshot.backbones.checkpoint import Checkpoint
from vdmfewshot.budget.memory import MemoryArgs


class Skeleton(Checkpoint):
    """A checkpoint whose models have shapes and no values, and whose denoiser is as deep as one wants.

    Args:
        checkpoint: whose configuration files are read.
        depth: number of the denoiser's blocks, by the name of its configuration's entry.
    """

    has_weights = False
    depth: dict[str, int]

    def __init__(self, checkpoint: Checkpoint, depth: dict[str, int]) -> None:
        super().__init__(checkpoint.path, checkpoint.revision)
        object.__setattr__(self, "depth", depth)

    def config(self, part: str) -> dict[str, Any]:
        """The checkpoint's configuration, with another depth of the denoiser."""
        config = super().config(part)
        return config | self.depth if part.startswith("transformer") else config

    def model(self, cls: Any, part: str, dtype: torch.dtype, **options: Any) -> Any:
        """``cls`` of diffusers or transformers from its configuration on the meta device; no weight is read."""
        with torch.device("meta"):
            config = self.config(part)
            model = cls.from_config(config) if hasattr(cls, "from_config") else cls(cls.config_class.from_dict(config))
        return nn.Module.to(model, dtype)  # diffusers' own ``to`` warns about modules that it keeps in fp32


def skeleton(backbone: Backbone, blocks: int) -> Backbone:
    """A second backbone of the same settings, loaded on the meta device, whose denoiser has ``blocks`` blocks.

    Takes about a second for billions of parameters. ``backbone`` is not changed and need not be loaded.
    """
    twin = copy.copy(backbone)
    twin.__dict__ = {**backbone.__dict__, "_modules": {}, "_buffers": {}, "_pipeline": None}
    twin.checkpoint = Skeleton(backbone.checkpoint, {backbone.depth_name: blocks})
    twin.init = "pretrained"  # a random denoiser has the same shapes
    twin.memory = MemoryArgs(vae_tiling=backbone.memory.vae_tiling)
    twin.load()
    return twin.to("meta")


def depth(backbone: Backbone) -> int:
    """Blocks of the denoiser, from its configuration."""
    return int(backbone.checkpoint.config("transformer")[backbone.depth_name])
