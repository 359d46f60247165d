"""Frozen weights shared out over processes: the run is the same, the memory is less."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny_training import make_data, make_module, make_trainer
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.training.sharding import ShardedStrategy, whole_layers

pytestmark = pytest.mark.usefixtures("meeting_port")

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from lightning.pytorch import Callback
from torch.distributed.tensor import DTensor
from lightning.pytorch.callbacks import ModelCheckpoint
from tests.tiny_training import adapter_weights, make_data, make_module, make_trainer
from vdmfewshot.callbacks.export import AdapterExport
from vdmfewshot.callbacks.scorer import Scorer
from vdmfewshot.training.sharding import ShardedStrategy

def local_bytes(module):
    parameters = (p.to_local() if isinstance(p, DTensor) else p for p in module.parameters())
    return sum(p.nbytes for p in parameters)

class Losses(Callback):
    def __init__(self):
        self.losses, self.bytes = [], 0
    def on_train_batch_end(self, trainer, module, outputs, *args):
        self.losses.append(float(trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean")))
        blocks = module.backbone.blocks if isinstance(trainer.strategy, ShardedStrategy) else []
        # Each would keep what it gathered last, so that nothing would be saved.
        assert len({id(block._get_fsdp_state()._comm_ctx) for block in blocks}) <= 1
        self.bytes = local_bytes(module.backbone.blocks) - sum(p.nbytes for p in module.parameters() if p.requires_grad)

tiny, roots, folder = map(Path, sys.argv[1:4])
devices, steps, checkpoint = int(sys.argv[4]), int(sys.argv[5]), sys.argv[6] if len(sys.argv) > 6 else None
if __name__ == "__main__":
    seen = Losses()
    save = ModelCheckpoint(folder / "checkpoints", save_last=True, save_top_k=0)
    callbacks = [seen, AdapterExport(), Scorer(show=False, baselines=False, ceiling=False), save]
    strategy = ShardedStrategy() if devices > 1 else "auto"
    trainer = make_trainer(
        folder, steps, strategy=strategy, devices=devices, gradient_clip_val=0.05, callbacks=callbacks
    )
    module, data = make_module(tiny), make_data(roots, batch_size=4 // devices)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    scores = trainer.test(module, datamodule=data, verbose=False)[0]
    if trainer.is_global_zero:
        torch.save(adapter_weights(module), folder / "weights.pt")
        found = {"losses": seen.losses, "bytes": seen.bytes, "psnr": scores["test/psnr_db"]}
        (folder / "found.json").write_text(json.dumps(found))
"""


def run(folder: Path, tiny: Path, roots: Path, devices: int, steps: int, checkpoint: Path | None = None) -> Any:
    """Losses, bytes of frozen blocks, test score and weights of a run on so many processes."""
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, folder / "script.py", tiny, roots, folder, devices, steps, checkpoint or ""]
    arguments = [str(part) for part in command if str(part)]
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text()) | {
        "weights": torch.load(folder / "weights.pt", weights_only=True)
    }


def same(a: Any, b: Any) -> None:
    torch.testing.assert_close(a["psnr"], b["psnr"], rtol=0, atol=1e-3)
    for name, weight in a["weights"].items():
        torch.testing.assert_close(b["weights"][name], weight, rtol=1e-3, atol=1e-4)


def test_two_processes_learn_score_and_export_what_one_does_with_half_the_frozen_blocks(
    tiny: Path, pairs_root: Path, tmp_path: Path
) -> None:
    one, two = (run(tmp_path / str(n), tiny, pairs_root, n, 10) for n in (1, 2))
    assert max(float(w.abs().max()) for name, w in one["weights"].items() if "lora_B" in name) > 1e-3, "it has learnt"
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert two["bytes"] == pytest.approx(one["bytes"] / 2, rel=0.02)
    same(one, two)
    assert (tmp_path / "2/adapter/pytorch_lora_weights.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_a_checkpoint_goes_on_with_any_number_of_processes(
    devices: int, tiny: Path, pairs_root: Path, tmp_path: Path
) -> None:
    whole = run(tmp_path / "whole", tiny, pairs_root, 1, 10)
    run(tmp_path / "half", tiny, pairs_root, 2, 5)
    same(whole, run(tmp_path / "rest", tiny, pairs_root, devices, 10, tmp_path / "half/checkpoints/last.ckpt"))


@pytest.mark.parametrize(
    ("options", "rule"),
    [({"memory": MemoryArgs(offload="group")}, "memory.offload=none, got group"), ({"compile": True}, "compile=false")],
)
def test_what_cannot_be_shared_is_refused(
    options: dict[str, Any], rule: str, tiny: Path, pairs_root: Path, tmp_path: Path
) -> None:
    trainer = make_trainer(tmp_path, 1, strategy=ShardedStrategy(), callbacks=[])
    with pytest.raises(ValueError, match=rule):
        trainer.fit(make_module(tiny, **options), datamodule=make_data(pairs_root))


def test_automatic_choices_leave_shared_layers_whole() -> None:
    assert whole_layers(MemoryArgs()) == MemoryArgs(quantization="none", offload="none")
