"""Adapters as others read them: the diffusers and the peft format, a model card, and the proof that they load."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from diffusers.loaders import LTXVideoLoraLoaderMixin
from safetensors.torch import save_file

from vdmfewshot.budget.memory import upcast
from vdmfewshot.lora.adapters import (
    ADAPTER,
    DIFFUSERS_FILE,
    MANIFEST_FILE,
    Manifest,
    adapter_state,
    peft_config,
    sha256,
)
from vdmfewshot.lora.comfyui import save_comfyui
from vdmfewshot.storage.atomic import flush
from vdmfewshot.storage.errors import writing

PEFT_FILE = "adapter_model.safetensors"


def save_adapter(folder: Path, model: Any, pipeline_class: Any, manifest: Manifest, comfyui: bool = False) -> Manifest:
    """Write the adapter for diffusers, for peft and for us, all or nothing, readable for whom the folder is.

    Args:
        folder: replaced as a whole if it exists.
        model: the adapted denoiser.
        pipeline_class: diffusers pipeline that the adapter is for; its ``save_lora_weights`` writes, where it has one.
        manifest: completed with the checksum of the weights.
        comfyui: also write the weights by the names of ComfyUI, see ``save_comfyui``.

    Returns:
        The manifest as written.

    Raises:
        ValueError: if ComfyUI has no known names for what was adapted.
        StorageError: if it cannot be written (disk full, read-only); a previous folder is still whole.
    """
    temporary = folder.with_name(f".{folder.name}.{uuid4().hex}.tmp")
    try:
        with writing(folder):
            temporary.mkdir(parents=True)
            manifest = _write_files(temporary, model, pipeline_class, manifest, comfyui)
            for file in temporary.iterdir():
                file.chmod(temporary.stat().st_mode & 0o666)  # some libraries make files for their owner alone
                flush(file)
            _replace_folder(temporary, folder)
            flush(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def _write_files(folder: Path, model: Any, pipeline_class: Any, manifest: Manifest, comfyui: bool) -> Manifest:
    state, config = adapter_state(model), peft_config(model)
    # Some pipelines have no adapters, and their networks do; one format serves all transformers.
    writer = pipeline_class if hasattr(pipeline_class, "save_lora_weights") else LTXVideoLoraLoaderMixin
    writer.save_lora_weights(folder, transformer_lora_layers=state, transformer_lora_adapter_metadata=config)
    save_file({f"base_model.model.{k}": v for k, v in state.items()}, folder / PEFT_FILE, {"format": "pt"})
    if comfyui:
        save_comfyui(folder, state, config, manifest.backbone["family"])
    written = dict(config, base_model_name_or_path=manifest.backbone["path"])
    (folder / "adapter_config.json").write_text(json.dumps(written, indent=2, sort_keys=True))
    manifest = Manifest(**{**asdict(manifest), "weights_sha256": sha256(folder / DIFFUSERS_FILE)})
    (folder / MANIFEST_FILE).write_text(json.dumps(asdict(manifest), indent=2, sort_keys=True))
    (folder / "README.md").write_text(model_card(manifest, config))
    return manifest


def _replace_folder(new: Path, old: Path) -> None:
    """Rename ``new`` to ``old``; a previous ``old`` is moved aside first and removed last."""
    aside = new.with_name(f"{new.name}.old")
    if old.exists():
        os.rename(old, aside)
    os.rename(new, old)
    shutil.rmtree(aside, ignore_errors=True)


def model_card(manifest: Manifest, config: Mapping[str, Any]) -> str:
    """Markdown with the front matter that model hubs read and the lines that load the adapter."""
    backbone, clip = manifest.backbone, manifest.clip
    extra = {
        name: "".join(f", {key}={value!r}" for key, value in backbone.get(name, {}).items())
        for name in ("pipeline_kwargs", "lora_kwargs")
    }
    return f"""---
base_model: {backbone["path"]}
library_name: diffusers
pipeline_tag: image-to-video
tags: [lora, peft, vdmfewshot, few-shot]
---

# {manifest.task}

LoRA of rank {config["r"]}, alpha {config["lora_alpha"]}, on {backbone["path"]} (fingerprint {backbone["fingerprint"]}).
It continues an input image with its answer, drawn by `{manifest.codec["name"]}`: {clip["num_frames"]} frames of
{clip["height"]}x{clip["width"]}, transition `{clip["transition"]}`; the answer is the last frame.

```python
pipeline = {backbone["pipeline"]}.from_pretrained("{backbone["path"]}"{extra["pipeline_kwargs"]})
pipeline.{backbone.get("lora_loader", "load_lora_weights")}("this folder"{extra["lora_kwargs"]})
```
"""


@torch.no_grad()
def verify_export(folder: Path, backbone: Any) -> float:
    """Load a saved adapter with stock diffusers beside the trained one and compare the denoiser's outputs.

    Args:
        folder: as written by ``save_adapter``.
        backbone: holding the trained adapter; left as it was.

    Returns:
        Largest difference of the outputs relative to their largest value.

    Raises:
        ValueError: if they differ by more than rounding, or if the adapter has no effect.
    """
    model, name = backbone.denoiser, "verify"
    trainable = [p for p in model.parameters() if p.requires_grad]
    in_training = [m for m in model.modules() if m.training]
    model.eval()  # dropout would make every output another one
    trained = backbone.probe()
    upcast(model)
    attrgetter(backbone.lora_loader)(backbone.pipeline)(folder, adapter_name=name, **backbone.lora_kwargs)
    try:
        model.set_adapter(name)
        reloaded = backbone.probe()
    finally:
        model.delete_adapters(name)
        model.set_adapter(ADAPTER)
        for p in trainable:
            p.requires_grad_(True)
    model.disable_adapters()
    frozen = backbone.probe()
    model.enable_adapters()
    for module in in_training:
        module.training = True
    scale = float(trained.abs().max())
    difference = float((trained - reloaded).abs().max()) / scale
    # diffusers casts adapters to the dtype of the base; bf16 has 8 bits.
    tolerance = 1e-5 if model.dtype == torch.float32 else 3e-2
    if not difference <= tolerance:
        raise ValueError(f"adapter {folder} gives other outputs in diffusers: relative difference {difference:.1e}")
    if torch.equal(trained, frozen):
        raise ValueError(f"adapter {folder} has no effect on the frozen model; train it for longer")
    return difference
