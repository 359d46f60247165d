"""Frozen video diffusion models behind one interface."""

from vdmfewshot.backbones.base import Backbone, Latents
from vdmfewshot.backbones.cogvideox import CogVideoX
from vdmfewshot.backbones.hunyuan import HunyuanVideo15
from vdmfewshot.backbones.kandinsky import Kandinsky5
from vdmfewshot.backbones.ltx import LtxVideo
from vdmfewshot.backbones.ltx2 import Ltx2
from vdmfewshot.backbones.ltx_condition import LtxVideoCondition
from vdmfewshot.backbones.skyreels import SkyReelsV2
from vdmfewshot.backbones.wan import Wan

__all__ = [
    "Backbone",
    "CogVideoX",
    "HunyuanVideo15",
    "Kandinsky5",
    "Latents",
    "Ltx2",
    "LtxVideo",
    "LtxVideoCondition",
    "SkyReelsV2",
    "Wan",
]
