"""Names of ComfyUI: known, translated back by diffusers to the same weights, and refused where nobody can check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTX2ImageToVideoPipeline, LTXConditionPipeline, LTXImageToVideoPipeline, WanImageToVideoPipeline
from safetensors.torch import load_file

from tests.runs import options, run
from tests.tiny_ltx import tiny_ltx
from tests.tiny_ltx2 import tiny_ltx2
from tests.tiny_wan import tiny_wan
from vdmfewshot.backbones import Ltx2, LtxVideo, LtxVideoCondition, Wan
from vdmfewshot.lora import adapters
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.lora.comfyui import COMFYUI_FILE, FAMILIES, comfyui_name, require_comfyui, save_comfyui

#: family, who writes a tiny checkpoint, the stock pipeline, and a name of each kind of layer
CASES: dict[str, tuple[Any, Callable[[Path], Path], Any, dict[str, str]]] = {
    "LtxVideo": (
        LtxVideo,
        tiny_ltx,
        LTXImageToVideoPipeline,
        {
            "transformer_blocks.0.attn1.to_out.0": "transformer_blocks.0.attn1.to_out.0",
            "transformer_blocks.1.ff.net.0.proj": "transformer_blocks.1.ff.net.0.proj",
        },
    ),
    "LtxVideoCondition": (LtxVideoCondition, tiny_ltx, LTXConditionPipeline, {}),
    "Ltx2": (Ltx2, tiny_ltx2, LTX2ImageToVideoPipeline, {}),
    "Wan": (
        Wan,
        lambda folder: tiny_wan(folder, "2.1-i2v-14b"),
        WanImageToVideoPipeline,
        {
            "blocks.0.attn1.to_q": "blocks.0.self_attn.q",
            "blocks.1.attn1.to_out.0": "blocks.1.self_attn.o",
            "blocks.1.attn2.to_v": "blocks.1.cross_attn.v",
            "blocks.1.attn2.add_k_proj": "blocks.1.cross_attn.k_img",
            "blocks.1.ffn.net.2": "blocks.1.ffn.2",
        },
    ),
}


@pytest.mark.parametrize("family", CASES)
def test_diffusers_reads_the_names_of_comfyui_and_the_network_answers_alike(family: str, tmp_path: Path) -> None:
    """With alpha ≠ rank, which the file carries in its weights."""
    kind, make, pipeline, names = CASES[family]
    backbone = kind(str(make(tmp_path / "model")))
    backbone.load()
    untrained = backbone.probe()
    targets = r"blocks\.\d+\.(attn[12]|ffn?)\..*(to_q|to_v|to_out\.0|proj|net\.2)" if names else backbone.lora_targets
    adapters.inject(backbone.denoiser, LoraArgs(rank=4, alpha=6), f".*{targets}" if names else targets, seed=0)
    for name, parameter in backbone.denoiser.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
    expected, state = backbone.probe(), adapters.adapter_state(backbone.denoiser)
    file = save_comfyui(tmp_path, state, {"r": 4, "lora_alpha": 6}, family)

    written = load_file(file)
    assert all(name.startswith("diffusion_model.") for name in written)
    for ours, theirs in names.items():
        assert torch.equal(written[f"diffusion_model.{theirs}.lora_A.weight"], state[f"{ours}.lora_A.weight"])
        assert torch.equal(written[f"diffusion_model.{theirs}.lora_B.weight"], state[f"{ours}.lora_B.weight"] * 1.5)

    backbone.denoiser.delete_adapters(adapters.ADAPTER)
    assert torch.equal(backbone.probe(), untrained)
    backbone.pipeline.load_lora_weights(tmp_path, weight_name=COMFYUI_FILE)
    scale = expected.abs().max()
    assert (backbone.probe() - expected).abs().max() < 1e-5 * scale
    assert (untrained - expected).abs().max() > 1e-3 * scale
    assert isinstance(backbone.pipeline, pipeline)


def test_cases_are_all_families() -> None:
    assert CASES.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", ["CogVideoX", "HunyuanVideo15", "Kandinsky5"])
def test_other_families_are_refused_with_a_reason(family: str) -> None:
    with pytest.raises(ValueError, match=f"no export to ComfyUI for {family}: .*could not be checked.*LtxVideo.*Wan"):
        require_comfyui(family)


@pytest.mark.parametrize(
    ("family", "module"),
    [("LtxVideo", "proj_in"), ("LtxVideo", "time_embed.linear"), ("Wan", "proj_out"), ("Ltx2", "audio_proj_in")],
)
def test_layers_with_names_that_differ_are_refused(family: str, module: str) -> None:
    with pytest.raises(ValueError, match=f"attention and feed-forward layers of the blocks for ComfyUI, got {module}"):
        comfyui_name(f"{module}.lora_A.weight", family)


def test_the_command_line_writes_it_or_refuses_before_weights_are_read(
    tiny: Path, pairs_root: Path, tmp_path: Path
) -> None:
    refused = [*options(tiny, tmp_path, pairs_root), "--export", "comfyui"]
    with pytest.raises(ValueError, match="no export to ComfyUI for CogVideoX"):
        run("fit", *refused)
    assert not list(tmp_path.rglob("*.safetensors"))
    checkpoint = tiny_ltx(tmp_path / "ltx")
    common = options(checkpoint, tmp_path / "runs", pairs_root)
    run(
        "fit", "--model.backbone", "LtxVideo", *common, "--data.num_frames", "9", "--export", "comfyui", "--name", "ltx"
    )
    assert (tmp_path / "runs/ltx/version_0/adapter" / COMFYUI_FILE).is_file()
