"""Frozen video diffusion models behind one interface."""

from vdmfewshot.backbones.base import Backbone, Latents
from vdmfewshot.backbones.cogvideox import CogVideoX
from vdmfewshot.backbones.wan import Wan

__all__ = ["Backbone", "CogVideoX", "Latents", "Wan"]
