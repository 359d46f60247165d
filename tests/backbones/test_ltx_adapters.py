"""LTX-Video from end to end: adapters to and from stock diffusers and peft, training, resume, the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LTXImageToVideoPipeline, LTXVideoTransformer3DModel
from lightning.pytorch.callbacks import ModelCheckpoint
from peft import LoraConfig, PeftModel, get_peft_model_state_dict

from tests.runs import run
from tests.tiny_ltx import tiny_ltx
from tests.tiny_training import adapter_weights, make_data, make_module, make_trainer
from vdmfewshot.backbones import LtxVideo
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.lora import adapters, export
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.training.module import FewShotModule

#: of arXiv 2510.24448, table 5
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"]
SIZE = {"height": 64, "width": 64}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_ltx(tmp_path_factory.mktemp("ltx") / "0.9.0")


def fit(checkpoint: Path, root: Path, folder: Path, steps: int, resume: bool = False, **kwargs: Any) -> FewShotModule:
    module = make_module(checkpoint, **{"backbone": LtxVideo, "lora": LoraArgs(rank=4, alpha=9), **kwargs})
    callback = ModelCheckpoint(folder / "checkpoints", save_last=True, save_top_k=0, every_n_train_steps=1)
    last = str(folder / "checkpoints/last.ckpt") if resume else None
    make_trainer(folder, steps, callbacks=[callback]).fit(module, datamodule=make_data(root, **SIZE), ckpt_path=last)
    return module


@pytest.fixture(scope="module")
def trained(checkpoint: Path, pairs_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FewShotModule, Path]:
    """A module trained for a few steps with alpha ≠ rank, and its exported adapter."""
    folder = tmp_path_factory.mktemp("trained")
    module = fit(checkpoint, pairs_root, folder, 5)
    backbone = module.backbone
    export.save_adapter(folder / "adapter", backbone.denoiser, backbone.pipeline_class, module.manifest())
    return module, folder / "adapter"


def frozen(checkpoint: Path) -> LtxVideo:
    backbone = LtxVideo(str(checkpoint))
    backbone.load()
    return backbone


def stock_pipeline(checkpoint: Path) -> LTXImageToVideoPipeline:
    return LTXImageToVideoPipeline.from_pretrained(checkpoint, tokenizer=None, text_encoder=None)


def test_default_targets_are_those_of_the_paper(checkpoint: Path) -> None:
    names = []
    for args in (LoraArgs(rank=2), LoraArgs(rank=2, targets=TARGETS)):
        backbone = frozen(checkpoint)
        adapters.inject(backbone.denoiser, args, backbone.lora_targets, seed=0)
        names.append(set(adapters.adapter_state(backbone.denoiser)))
    assert names[0] == names[1]
    assert len(names[0]) == 2 * 2 * 10, "per block: A and B of two attentions of four matrices, and two of the MLP"


def test_stock_diffusers_loads_it_and_gives_the_same_output(
    trained: tuple[FewShotModule, Path], checkpoint: Path
) -> None:
    module, folder = trained
    other = frozen(checkpoint)
    untrained = other.probe()
    stock = stock_pipeline(checkpoint)
    stock.load_lora_weights(folder)
    other.transformer = stock.transformer
    expected = module.backbone.probe()
    torch.testing.assert_close(other.probe(), expected, rtol=0, atol=1e-6)
    assert (untrained - expected).abs().max() > 1e-3


def test_peft_loads_it_and_gives_the_same_output(trained: tuple[FewShotModule, Path], checkpoint: Path) -> None:
    module, folder = trained
    base = LTXVideoTransformer3DModel.from_pretrained(checkpoint, subfolder="transformer")
    other = frozen(checkpoint)
    other.transformer = PeftModel.from_pretrained(base, folder).base_model.model
    torch.testing.assert_close(other.probe(), module.backbone.probe(), rtol=0, atol=1e-6)


def test_the_export_is_verified(trained: tuple[FewShotModule, Path]) -> None:
    module, folder = trained
    assert export.verify_export(folder, module.backbone) < 1e-6
    assert module.manifest().backbone["family"] == "LtxVideo"
    assert "LTXImageToVideoPipeline.from_pretrained" in (folder / "README.md").read_text()


def test_an_adapter_made_elsewhere_loads_and_gives_the_same_output(checkpoint: Path, tmp_path: Path) -> None:
    """What LTX-Video-Trainer writes: diffusers' format, no manifest, no metadata, alpha equal to rank."""
    stock = stock_pipeline(checkpoint)
    stock.transformer.add_adapter(LoraConfig(r=3, lora_alpha=3, target_modules=TARGETS))
    torch.manual_seed(0)
    for name, p in stock.transformer.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.1)
    layers = get_peft_model_state_dict(stock.transformer)
    LTXImageToVideoPipeline.save_lora_weights(tmp_path, transformer_lora_layers=layers)

    module = make_module(checkpoint, backbone=LtxVideo, lora=LoraArgs(rank=3, alpha=3), adapter=str(tmp_path))
    module.configure_model()
    theirs = frozen(checkpoint)
    untrained = theirs.probe()
    theirs.transformer = stock.transformer
    torch.testing.assert_close(module.backbone.probe(), theirs.probe(), rtol=0, atol=1e-6)
    assert (module.backbone.probe() - untrained).abs().max() > 1e-3


def test_a_resumed_run_reaches_the_same_bits(checkpoint: Path, pairs_root: Path, tmp_path: Path) -> None:
    whole = fit(checkpoint, pairs_root, tmp_path / "whole", 5)
    fit(checkpoint, pairs_root, tmp_path / "parts", 2)
    resumed = fit(checkpoint, pairs_root, tmp_path / "parts", 5, resume=True)
    weights = adapter_weights(resumed)
    assert all(torch.equal(v, weights[k]) for k, v in adapter_weights(whole).items())
    assert all(v.any() for k, v in weights.items() if "lora_B" in k), "every adapted module learns"


def test_gradient_checkpointing_changes_nothing(checkpoint: Path, pairs_root: Path, tmp_path: Path) -> None:
    plain = adapter_weights(fit(checkpoint, pairs_root, tmp_path / "a", 2))
    memory = MemoryArgs(checkpointing="full")
    other = adapter_weights(fit(checkpoint, pairs_root, tmp_path / "b", 2, memory=memory))
    assert all(torch.equal(v, other[k]) for k, v in plain.items())


def test_the_command_line_adapts_tests_and_exports(pairs_root: Path, tmp_path: Path) -> None:
    """In bf16, with timestep conditioning: ``adapt`` trains, tests and verifies what it exports."""
    checkpoint = tiny_ltx(tmp_path / "checkpoint", "0.9.5")
    run(
        "adapt",
        *("--data", "PairsDataModule", "--data.root", str(pairs_root), "--data.shots", "4", "--data.batch_size", "2"),
        *("--data.height", "64", "--data.width", "64", "--model.backbone", "LtxVideoCondition"),
        *("--model.backbone.path", str(checkpoint), "--model.backbone.dtype", "bf16"),
        *("--model.sampling.steps", "2", "--model.lora.rank", "4", "--trainer.max_steps", "2", "--name", "x"),
        *("--trainer.default_root_dir", str(tmp_path / "runs"), "--trainer.accelerator", "cpu"),
        *("--trainer.enable_progress_bar", "false"),
    )
    folder = tmp_path / "runs/x/version_0"
    assert list(folder.rglob("scores.json"))
    (weights,) = folder.rglob(adapters.DIFFUSERS_FILE)
    assert '"family": "LtxVideoCondition"' in (weights.parent / adapters.MANIFEST_FILE).read_text()
