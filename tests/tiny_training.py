"""Builds real, tiny runs for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from vdmfewshot.backbones import CogVideoX
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.sampling import SamplingArgs
from vdmfewshot.training.trainer import FewShotTrainer


def make_module(checkpoint: Path, lr: float = 1e-2, **kwargs: Any) -> FewShotModule:
    backbone = kwargs.pop("backbone", CogVideoX)(
        str(checkpoint),
        dtype=kwargs.pop("dtype", "fp32"),
        memory=kwargs.pop("memory", MemoryArgs()),
    )
    return FewShotModule(
        backbone,
        lora=kwargs.pop("lora", LoraArgs(rank=4, alpha=4)),
        optimizer=lambda p: torch.optim.AdamW(p, lr=lr),
        sampling=kwargs.pop("sampling", SamplingArgs(steps=2)),
        **kwargs,
    )


def make_data(root: Path, **kwargs: Any) -> PairsDataModule:
    return PairsDataModule(str(root), **{"shots": 3, "height": 32, "width": 32, "batch_size": 2, **kwargs})


def make_trainer(folder: Path, max_steps: int, **kwargs: Any) -> FewShotTrainer:
    callbacks = kwargs.pop("callbacks", [ModelCheckpoint(folder / "checkpoints", save_last=True, save_top_k=0)])
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    return FewShotTrainer(default_root_dir=folder, max_steps=max_steps, callbacks=callbacks, **{**defaults, **kwargs})


def adapter_weights(module: FewShotModule) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad}


def everything(module: FewShotModule) -> dict[str, torch.Tensor]:
    """Copies of all tensors of a backbone."""
    return {k: v.clone() for k, v in module.backbone.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors are the same, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k].view(torch.uint8), b[k].view(torch.uint8)) for k in a)
