"""The two networks of a run: built, read from a folder or a checkpoint, and written as a diffusers pipeline folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor, nn

from vdmfewshot.pretrain.averages import WeightAverage
from vdmfewshot.pretrain.transformer import build_scheduler, build_transformer, fixed_prompt
from vdmfewshot.pretrain.vae import build_vae
from vdmfewshot.storage.documents import plain, read_json

EMBEDDED = Path(__file__).parents[1] / "backbones" / "embedded"

MODEL_INDEX = {
    "_class_name": "CogVideoXImageToVideoPipeline",
    "scheduler": ["diffusers", "CogVideoXDDIMScheduler"],
    "text_encoder": [None, None],
    "tokenizer": [None, None],
    "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLCogVideoX"],
}


def pipeline_folder(name: str) -> Path:
    """Folder of ``embedded`` or of a path.

    Raises:
        FileNotFoundError: If that is no pipeline folder.
    """
    folder = EMBEDDED if name == "embedded" else Path(name)
    if not (folder / "vae" / "config.json").is_file():
        raise FileNotFoundError(
            f"{name} is no pipeline folder (no vae/config.json); give 'embedded', 'scratch' or a folder"
        )
    return folder


def starting_vae(source: str) -> AutoencoderKLCogVideoX:
    """The autoencoder to begin with: ``scratch``, ``embedded`` or that of a pipeline folder; float32."""
    if source == "scratch":
        return build_vae()
    return AutoencoderKLCogVideoX.from_pretrained(pipeline_folder(source), subfolder="vae").float()


def starting_transformer(source: str, heads: int, layers: int) -> CogVideoXTransformer3DModel:
    """The denoiser to begin with: ``scratch`` of that size, ``embedded`` or that of a pipeline folder; float32."""
    if source == "scratch":
        return build_transformer(heads, layers)
    return CogVideoXTransformer3DModel.from_pretrained(pipeline_folder(source), subfolder="transformer").float()


def configuration(model: nn.Module) -> dict[str, Any]:
    """What ``from_config`` needs, as JSON holds it."""
    # mypy skips diffusers, which adds config
    values = {key: value for key, value in dict(model.config).items() if not key.startswith("_")}  # type: ignore[arg-type]
    listed: dict[str, Any] = plain(values)
    return listed


def average_tensors(name: str, average: nn.Module) -> dict[str, Tensor]:
    """The averaged weights in bfloat16, on the CPU: what is exported."""
    return {f"{name}.average/{key}": value.detach().to("cpu", torch.bfloat16, copy=True)
            for key, value in average.state_dict().items()}  # fmt: skip


def difference_tensors(name: str, model: nn.Module, average: nn.Module) -> dict[str, Tensor]:
    """Weights less the rounded average: small numbers, which bfloat16 holds far better than the weights."""
    rounded = {key: value.bfloat16().float() for key, value in average.state_dict().items()}
    return {f"{name}.difference/{key}": (value.detach() - rounded[key]).to("cpu", torch.bfloat16)
            for key, value in model.state_dict().items()}  # fmt: skip


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def restore(name: str, model: nn.Module, average: WeightAverage | None, tensors: Mapping[str, Tensor]) -> None:
    """Put a checkpoint's weights into a model, and its average; without differences both get the average."""
    averaged = {key: value.float() for key, value in _part(tensors, f"{name}.average/").items()}
    differences = _part(tensors, f"{name}.difference/")
    model.load_state_dict({key: value + differences[key].float() if key in differences else value
                           for key, value in averaged.items()})  # fmt: skip
    if average is not None:
        average.module.load_state_dict(averaged)


def from_checkpoint(
    tensors: Mapping[str, Tensor], state: Mapping[str, Any]
) -> tuple[AutoencoderKLCogVideoX, CogVideoXTransformer3DModel | None]:
    """The averaged networks of a checkpoint; the denoiser is None while the autoencoder is still in training."""
    vae = AutoencoderKLCogVideoX.from_config(state["vae"])
    vae.load_state_dict(_part(tensors, "vae.average/"))
    weights = _part(tensors, "denoiser.average/")
    if not weights:
        return vae, None
    transformer = CogVideoXTransformer3DModel.from_config(state["denoiser"])
    transformer.load_state_dict(weights)
    return vae, transformer


def write_pipeline(folder: Path, vae: AutoencoderKLCogVideoX, transformer: CogVideoXTransformer3DModel) -> None:
    """Write a pipeline folder in diffusers layout, bfloat16, the layout of the embedded backbone."""
    folder.mkdir(parents=True, exist_ok=True)
    vae.to(torch.bfloat16).save_pretrained(folder / "vae")
    transformer.to(torch.bfloat16).save_pretrained(folder / "transformer")
    build_scheduler().save_pretrained(folder / "scheduler")
    save_file({"prompt_embeds": fixed_prompt().contiguous()}, folder / "prompt_embeds.safetensors")
    for file in folder.glob("*/config.json"):
        # Where the parts lay on the machine that trained them is nobody's business.
        config = read_json(file, "write the pipeline again")
        config.pop("_name_or_path", None)
        file.write_text(json.dumps(config, indent=2) + "\n")
    index = {**MODEL_INDEX, "_diffusers_version": diffusers.__version__}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
