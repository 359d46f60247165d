"""All weights trained, for comparison with adapters."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.tiny_training import make_data, make_trainer
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.training.full import FullFineTuneModule


def test_full_fine_tuning_trains_the_denoiser_and_nothing_else(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    module = FullFineTuneModule(
        CogVideoX(str(tiny), init="random"), LoraArgs(rank=4), optimizer=lambda p: torch.optim.AdamW(p, lr=1e-2)
    )
    module.configure_model()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    trainer = make_trainer(tmp_path, 3)
    trainer.fit(module, datamodule=make_data(pairs_root))
    changed = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if name.startswith("backbone.transformer.")}
    assert not [name for name in before if "lora" in name]
    assert module.state_dict().keys() == changed, "checkpoints hold what was trained"
