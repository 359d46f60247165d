"""Training: the base stays frozen, resume is exact, ranks and accumulation change nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image

from tests.tiny import tiny_checkpoint
from tests.tiny_training import adapter_weights, make_data, make_module, make_trainer
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.clips.clip import ClipBatch
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.sampling import SamplingArgs

pytestmark = pytest.mark.usefixtures("meeting_port")


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different, different[:3]


class Losses(Callback):
    """Records the loss and the order of samples of every micro-batch."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.keys: list[str] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: ClipBatch, batch_idx: int
    ) -> None:
        self.losses.append(float(outputs["loss"]))
        self.keys.extend(pair.key for pair in batch.pairs)


def fit(tiny: Path, root: Path, folder: Path, steps: int, resume: bool = False, **kwargs: Any) -> Any:
    losses = Losses()
    settings = kwargs.pop("data", {})
    data = make_data(settings.pop("root", root), **settings)
    module = make_module(tiny, **kwargs.pop("module", {}))
    checkpoint = ModelCheckpoint(folder / "checkpoints", save_last=True, save_top_k=0, every_n_train_steps=1)
    trainer = make_trainer(folder, steps, callbacks=[losses, checkpoint], **kwargs)
    trainer.fit(module, datamodule=data, ckpt_path=str(folder / "checkpoints/last.ckpt") if resume else None)
    return module, losses, trainer


def test_only_the_adapter_learns(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    module = make_module(tiny)
    module.backbone.load()
    before = {k: v.clone() for k, v in module.backbone.transformer.state_dict().items()}
    vae = {k: v.clone() for k, v in module.backbone.vae.state_dict().items()}
    trainer = make_trainer(tmp_path, 10)
    trainer.fit(module, datamodule=make_data(pairs_root))
    after = {k.replace(".base_layer", ""): v for k, v in module.backbone.transformer.state_dict().items()}
    assert_equal(before, {k: v for k, v in after.items() if "lora_" not in k})
    assert_equal(vae, dict(module.backbone.vae.state_dict()))
    weights = adapter_weights(module)
    assert all(("lora_A" in k) or v.any() for k, v in weights.items()), "every B has moved away from zero"
    assert {p.dtype for p in weights.values()} == {torch.float32}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_twenty_steps_equal_seven_and_thirteen(tiny: Path, pairs_root: Path, tmp_path: Path, accumulate: int) -> None:
    kwargs = {"accumulate_grad_batches": accumulate, "module": {"lora": LoraArgs(rank=4, alpha=4, dropout=0.1)}}
    whole, whole_losses, _ = fit(tiny, pairs_root, tmp_path / "whole", 20, **dict(kwargs))
    _, first, _ = fit(tiny, pairs_root, tmp_path / "parts", 7, **dict(kwargs))
    resumed, rest, trainer = fit(tiny, pairs_root, tmp_path / "parts", 20, resume=True, **dict(kwargs))
    assert trainer.global_step == 20
    assert first.keys + rest.keys == whole_losses.keys
    assert first.losses + rest.losses == whole_losses.losses
    assert_equal(adapter_weights(whole), adapter_weights(resumed))
    states = [t.optimizers[0].state_dict()["state"] for t in (_trainer_of(whole), _trainer_of(resumed))]
    for index, state in states[0].items():
        assert torch.equal(state["exp_avg"], states[1][index]["exp_avg"])


def _trainer_of(module: FewShotModule) -> Trainer:
    return module.trainer


def test_accumulation_equals_a_larger_batch(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    whole, _, _ = fit(tiny, pairs_root, tmp_path / "a", 4, data={"batch_size": 4})
    parts, _, _ = fit(tiny, pairs_root, tmp_path / "b", 4, data={"batch_size": 2}, accumulate_grad_batches=2)
    for name, weight in adapter_weights(whole).items():
        torch.testing.assert_close(adapter_weights(parts)[name], weight, rtol=1e-3, atol=1e-4)


SCRIPT = """
import sys
from pathlib import Path
import torch
from tests.tiny_training import make_data, make_module, make_trainer, adapter_weights
tiny, root, folder = map(Path, sys.argv[1:4])
module = make_module(tiny)
trainer = make_trainer(folder, int(sys.argv[4]), strategy=sys.argv[5], devices=int(sys.argv[6]))
if __name__ == "__main__":
    trainer.fit(module, datamodule=make_data(root, batch_size=4 // int(sys.argv[6])))
    if trainer.is_global_zero:
        torch.save(adapter_weights(module), folder / "weights.pt")
"""


@pytest.mark.parametrize("checkpointing", ["segmented", "full"])
def test_gradient_checkpointing_changes_nothing(
    tiny: Path, pairs_root: Path, tmp_path: Path, checkpointing: Any
) -> None:
    lora = LoraArgs(rank=4, alpha=4, dropout=0.1)
    plain, expected, _ = fit(tiny, pairs_root, tmp_path / "a", 3, module={"lora": lora})
    memory = MemoryArgs(checkpointing=checkpointing)
    checkpointed, losses, _ = fit(tiny, pairs_root, tmp_path / "b", 3, module={"memory": memory, "lora": lora})
    assert checkpointed.backbone.transformer.gradient_checkpointing
    assert losses.losses == expected.losses
    assert_equal(adapter_weights(plain), adapter_weights(checkpointed))


def run_script(folder: Path, *args: object, wait: bool = True) -> subprocess.Popen[str]:
    script = folder / "script.py"
    folder.mkdir(parents=True, exist_ok=True)
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, str(script), *map(str, args)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if wait:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output[-3000:]
    return process


def test_two_processes_equal_one(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    for name, strategy, devices in (("one", "auto", 1), ("two", "ddp", 2)):
        run_script(tmp_path / name, tiny, pairs_root, tmp_path / name, 5, strategy, devices)
    one, two = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-4)


def test_a_killed_run_resumes_to_the_same_bits(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    """Kill -9 in the middle; what is on disk continues to exactly what an undisturbed run reaches."""
    folder = tmp_path / "killed"
    pid = os.fork() if hasattr(os, "fork") else None
    if pid == 0:  # child: train until killed
        try:
            fit(tiny, pairs_root, folder, 10_000)
        finally:
            os._exit(1)
    assert pid is not None
    last, deadline = folder / "checkpoints/last.ckpt", time.time() + 120
    while not last.exists() and time.time() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    done = torch.load(last, weights_only=True)["global_step"]
    resumed, _, _ = fit(tiny, pairs_root, folder, done + 5, resume=True)
    whole, _, _ = fit(tiny, pairs_root, tmp_path / "whole", done + 5)
    assert_equal(adapter_weights(whole), adapter_weights(resumed))


def test_checkpoints_hold_the_adapter_and_the_optimiser_only(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    module, _, _ = fit(tiny, pairs_root, tmp_path, 2)
    checkpoint = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["state_dict"].keys() == adapter_weights(module).keys()
    assert all("lora_" in name for name in checkpoint["state_dict"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"module": {"lora": LoraArgs(rank=2)}}, "another lora.rank"),
        ({"module": {"lora": LoraArgs(rank=4, targets=["to_q"])}}, "does not fit lora.targets"),
    ],
)
def test_checkpoints_of_other_settings_are_refused(
    tiny: Path, pairs_root: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    fit(tiny, pairs_root, tmp_path, 1)
    with pytest.raises(ValueError, match=message):
        fit(tiny, pairs_root, tmp_path, 2, resume=True, **change)


def test_a_checkpoint_of_another_codec_is_refused(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    fit(tiny, pairs_root, tmp_path, 1)
    masks = tmp_path / "masks"
    shutil.copytree(pairs_root, masks)
    for file in (masks / "target").iterdir():
        Image.fromarray(np.asarray(Image.open(file).convert("L")) // 128 * 255).save(file)
    with pytest.raises(ValueError, match="another codec"):
        fit(tiny, masks, tmp_path, 2, resume=True, data={"target": "mask"})


def test_a_checkpoint_of_another_base_is_refused(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    fit(tiny, pairs_root, tmp_path, 1)
    with pytest.raises(ValueError, match="another base"):
        fit(tiny_checkpoint(tmp_path / "other", seed=1), pairs_root, tmp_path, 2, resume=True)


def test_a_loss_that_is_not_finite_stops_at_once(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    class Poison(Callback):
        def on_train_batch_start(self, trainer: Trainer, module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 2:
                next(module.backbone.transformer.parameters()).data.fill_(float("nan"))

    module = make_module(tiny)
    trainer = make_trainer(tmp_path, 5, callbacks=[Poison()])
    with pytest.raises(FloatingPointError, match="training loss is nan at step 2 for"):
        trainer.fit(module, datamodule=make_data(pairs_root))
    assert all(torch.isfinite(v).all() for v in adapter_weights(module).values())


def test_illegal_clips_are_refused_before_weights(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    module = make_module(tiny)
    with pytest.raises(ValueError, match="nearest: 13, 17"):
        make_trainer(tmp_path, 1).fit(module, datamodule=make_data(pairs_root, num_frames=16))
    assert module.backbone.fingerprint is None


def test_predictions_do_not_depend_on_batch_size(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    results = []
    for size in (1, 3):
        module = make_module(tiny, sampling=SamplingArgs(steps=2, attempts=2, decode="clip"))
        data = make_data(pairs_root, eval_batch_size=size)
        batches = make_trainer(tmp_path, 1).predict(module, datamodule=data)
        results.append({p.key: g for b in batches for p, g in zip(b.pairs, b.generated, strict=True)})
    assert results[0].keys() == results[1].keys()
    for key, clips in results[0].items():
        assert clips.shape[:2] == (2, 9)
        assert not torch.equal(clips[0], clips[1]), "attempts differ"
        torch.testing.assert_close(results[1][key], clips, rtol=0, atol=1e-5)


def test_bf16_base_with_fp32_adapter_learns(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    module, losses, _ = fit(tiny, pairs_root, tmp_path, 5, precision="bf16-mixed", module={"dtype": "bf16"})
    assert module.backbone.transformer.dtype == torch.bfloat16
    assert {v.dtype for v in adapter_weights(module).values()} == {torch.float32}
    assert all(torch.isfinite(torch.tensor(losses.losses)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LoraArgs(rank=0), "lora.rank must be at least 1, got 0"),
        (lambda: LoraArgs(alpha=0), "lora.alpha must be positive"),
        (lambda: LoraArgs(dropout=1), r"lora.dropout must be in \[0, 1\), got 1"),
        (lambda: SamplingArgs(steps=0), "sampling.steps must be at least 1, got 0"),
        (lambda: SamplingArgs(guidance=0.5), "sampling.guidance must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
