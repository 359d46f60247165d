"""Adapters by the names of ComfyUI, which loads ``diffusion_model.<module>.lora_A.weight`` for modules of its networks.

Its networks have their authors' names, which are not always those of diffusers. Offered are the families whose names
diffusers itself translates back, so that every file can be checked: what is read back must be what was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.lora_pipeline import LTX2LoraLoaderMixin, LTXVideoLoraLoaderMixin, WanLoraLoaderMixin
from safetensors.torch import save_file
from torch import Tensor

from vdmfewshot.lora.adapters import PREFIX

COMFYUI_FILE = "comfyui_lora.safetensors"
ROOT = "diffusion_model."

_LTX = r"transformer_blocks\.\d+\.(attn[12]\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.(0\.proj|2))"
_WAN = r"blocks\.\d+\.(attn[12]\.(to_q|to_k|to_v|to_out\.0|add_k_proj|add_v_proj)|ffn\.net\.(0\.proj|2))"
#: endings of names in diffusers and in Wan's own network
_WAN_NAMES = {
    "attn1.to_q": "self_attn.q", "attn1.to_k": "self_attn.k", "attn1.to_v": "self_attn.v",
    "attn1.to_out.0": "self_attn.o", "attn2.to_q": "cross_attn.q", "attn2.to_k": "cross_attn.k",
    "attn2.to_v": "cross_attn.v", "attn2.to_out.0": "cross_attn.o",
    "attn2.add_k_proj": "cross_attn.k_img", "attn2.add_v_proj": "cross_attn.v_img",
    "ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2",
}  # fmt: skip
#: by family: modules that may be adapted, their other names, and who translates these back
FAMILIES: dict[str, tuple[str, Mapping[str, str], Any]] = {
    "LtxVideo": (_LTX, {}, LTXVideoLoraLoaderMixin),
    "LtxVideoCondition": (_LTX, {}, LTXVideoLoraLoaderMixin),
    "Ltx2": (_LTX, {}, LTX2LoraLoaderMixin),
    "Wan": (_WAN, _WAN_NAMES, WanLoraLoaderMixin),
}


def require_comfyui(family: str) -> None:
    """Refuse a family whose names in ComfyUI nobody could check.

    Args:
        family: name of the backbone's class.

    Raises:
        ValueError: with those that there are.
    """
    if family not in FAMILIES:
        raise ValueError(
            f"there is no export to ComfyUI for {family}: diffusers cannot read its names in ComfyUI back, so that the "
            f"file could not be checked; there is one for {', '.join(FAMILIES)}"
        )


def save_comfyui(folder: Path, state: Mapping[str, Tensor], config: Mapping[str, Any], family: str) -> Path:
    """Write an adapter for ComfyUI, and read it back with diffusers.

    ComfyUI scales by alpha / rank only where a file says alpha, which diffusers could not read back for all families:
    the scale is multiplied into B instead.

    Args:
        folder: that gets ``comfyui_lora.safetensors``.
        state: tensors by peft name.
        config: ``LoraConfig``, of which ``r`` and ``lora_alpha`` are used.
        family: name of the backbone's class.

    Returns:
        The file.

    Raises:
        ValueError: for a family or module that has no known name, or if other tensors are read back.
    """
    require_comfyui(family)
    _, _, reader = FAMILIES[family]
    scale = config["lora_alpha"] / config["r"]
    scaled = {name: tensor * scale if ".lora_B." in name else tensor for name, tensor in state.items()}
    save_file(
        {comfyui_name(k, family): v.contiguous() for k, v in scaled.items()}, folder / COMFYUI_FILE, {"format": "pt"}
    )
    back = reader.lora_state_dict(folder, weight_name=COMFYUI_FILE)
    found = {name.removeprefix(PREFIX): tensor for name, tensor in back.items()}
    if found.keys() != scaled.keys() or not all(torch.equal(found[name], tensor) for name, tensor in scaled.items()):
        raise ValueError(f"diffusers reads {folder / COMFYUI_FILE} back as other weights than were written")
    return folder / COMFYUI_FILE


def comfyui_name(name: str, family: str) -> str:
    """ComfyUI's name of a tensor.

    Args:
        name: ``transformer_blocks.0.attn1.to_q.lora_A.weight``, of peft.
        family: name of the backbone's class.

    Raises:
        ValueError: for a module whose name in ComfyUI is not known.
    """
    modules, others, _ = FAMILIES[family]
    module, dot, matrix = name.partition(".lora_")
    if not re.fullmatch(modules, module):
        raise ValueError(
            f"lora.targets must be attention and feed-forward layers of the blocks for ComfyUI, got {module}; leave "
            "--export out, or adapt others"
        )
    block, number, rest = module.split(".", 2)
    return f"{ROOT}{block}.{number}.{others.get(rest, rest)}{dot}{matrix}"
