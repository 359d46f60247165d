"""A stack of K tasks is K runs: the same weights, frames and files, whatever the others do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CogVideoXImageToVideoPipeline
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.stacks import SHOTS, make_roots, make_stack, slices, stack_of, task
from tests.tiny_training import adapter_weights, make_module, make_trainer
from tests.training.test_module import assert_equal
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.budget.memory import MemoryArgs
from vdmfewshot.callbacks.export import AdapterExport
from vdmfewshot.callbacks.scorer import Scorer
from vdmfewshot.data.stack import StackedDataModule
from vdmfewshot.lora.adapters import LoraArgs
from vdmfewshot.metrics.records import read_records
from vdmfewshot.training.sampling import SamplingArgs
from vdmfewshot.training.stacked_module import StackedModule

STEPS = 20
#: below the norm of most gradients, so that clipping matters
CLIP = 0.05


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_roots(tmp_path_factory.mktemp("roots"))


def fit_stack(tiny: Path, data: StackedDataModule, folder: Path, steps: int = STEPS, **kwargs: Any) -> StackedModule:
    module = make_stack(tiny, **kwargs.pop("module", {}))
    ckpt_path = kwargs.pop("ckpt_path", None)
    trainer = make_trainer(folder, steps, **{"gradient_clip_val": CLIP, **kwargs})
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return module


def fit_alone(tiny: Path, roots: dict[str, Path], name: str, folder: Path, **kwargs: Any) -> Any:
    module = make_module(tiny, **kwargs)
    make_trainer(folder, STEPS, gradient_clip_val=CLIP).fit(module, datamodule=task(roots, name))
    return module


def assert_close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, weight in a.items():
        torch.testing.assert_close(b[name], weight, rtol=0, atol=1e-5, msg=name)


@pytest.fixture(scope="module")
def stacked(tiny: Path, roots: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> StackedModule:
    """Three tasks of 4, 2 and 3 shots after 20 steps, exported to ``adapter`` below the trainer's folder."""
    folder = tmp_path_factory.mktemp("stacked")
    return fit_stack(tiny, stack_of(roots), folder, callbacks=[AdapterExport()])


def adapter_folder(module: StackedModule) -> Path:
    return Path(module.trainer.default_root_dir) / "adapter"


# -- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHOTS)
def test_each_task_equals_the_task_alone(
    name: str, stacked: StackedModule, tiny: Path, roots: dict[str, Path], tmp_path: Path
) -> None:
    """Weights after 20 clipped AdamW steps, and the frames that they generate."""
    alone = fit_alone(tiny, roots, name, tmp_path)
    assert_close(adapter_weights(alone), slices(stacked, name))
    assert max(float(w.abs().max()) for k, w in slices(stacked, name).items() if "lora_B" in k) > 0.1, "it has learnt"
    expected = make_trainer(tmp_path, 1).predict(alone, datamodule=task(roots, name))
    found = predict(stacked, roots)[name]
    for batch in expected:
        for pair, clip in zip(batch.pairs, batch.generated, strict=True):
            torch.testing.assert_close(found[pair.key], clip, rtol=0, atol=1e-4)


def predict(module: StackedModule, roots: dict[str, Path]) -> dict[str, dict[str, torch.Tensor]]:
    """Generated clips by task and key, from batches that hold queries of several tasks."""
    before, data = module.trainer, stack_of(roots)
    data.eval_batch_size = 4
    batches = make_trainer(Path(before.default_root_dir), 1).predict(module, datamodule=data)
    module.trainer = before
    assert any(len(batch.by_task()) > 1 for batch in batches)
    found: dict[str, dict[str, torch.Tensor]] = {name: {} for name in SHOTS}
    for batch in batches:
        for name, part in batch.by_task().items():
            found[name] |= dict(zip((pair.key for pair in part.pairs), part.generated, strict=True))
    return found


@pytest.mark.parametrize("names", [("invert", "turn"), ("turn",)])
def test_neither_order_nor_company_matters(
    names: tuple[str, ...], stacked: StackedModule, tiny: Path, roots: dict[str, Path], tmp_path: Path
) -> None:
    other = fit_stack(tiny, stack_of(roots, *names), tmp_path)
    for name in names:
        assert_close(slices(stacked, name), slices(other, name))


def test_dropout_of_each_task_is_that_of_the_task_alone(tiny: Path, roots: dict[str, Path], tmp_path: Path) -> None:
    lora = LoraArgs(rank=4, alpha=4, dropout=0.3)
    module = fit_stack(tiny, stack_of(roots, "turn", "invert"), tmp_path / "stack", module={"lora": lora})
    alone = fit_alone(tiny, roots, "invert", tmp_path / "alone", lora=lora)
    assert_close(adapter_weights(alone), slices(module, "invert"))


def test_guided_attempts_are_those_of_the_task_alone(
    stacked: StackedModule, tiny: Path, roots: dict[str, Path], tmp_path: Path
) -> None:
    """Guidance doubles the batch within the pipeline."""
    adapter, sampling = adapter_folder(stacked), SamplingArgs(steps=2, guidance=3.0, attempts=2)
    module = make_stack(tiny, adapter=str(adapter), sampling=sampling)
    make_trainer(tmp_path, 1).predict(module, datamodule=stack_of(roots))
    alone = make_module(tiny, adapter=str(adapter / "turn"), sampling=sampling)
    (expected,) = make_trainer(tmp_path, 1).predict(alone, datamodule=task(roots, "turn"))
    for pair, clips in zip(expected.pairs, expected.generated, strict=True):
        torch.testing.assert_close(predict(module, roots)["turn"][pair.key], clips, rtol=0, atol=1e-4)


def test_twenty_steps_equal_seven_and_thirteen(tiny: Path, roots: dict[str, Path], tmp_path: Path) -> None:
    def fit(folder: Path, steps: int, **kwargs: Any) -> StackedModule:
        saving = ModelCheckpoint(folder / "checkpoints", save_last=True, save_top_k=0, every_n_train_steps=1)
        return fit_stack(tiny, stack_of(roots), folder, steps, callbacks=[saving], **kwargs)

    fit(tmp_path, 7)
    resumed = fit(tmp_path, STEPS, ckpt_path=str(tmp_path / "checkpoints/last.ckpt"))
    whole = fit(tmp_path / "whole", STEPS)
    assert_equal(adapter_weights(whole), adapter_weights(resumed))
    with pytest.raises(ValueError, match="trained with another list of tasks"):
        fit_stack(tiny, stack_of(roots, "turn"), tmp_path, 1, ckpt_path=str(tmp_path / "checkpoints/last.ckpt"))


# -- failures -------------------------------------------------------------------------------------------------------


class Poison(Callback):
    """Makes the cached latents of some tasks NaN before a step, and keeps the weights that they then have."""

    def __init__(self, *names: str, step: int = 2) -> None:
        self.names = names
        self.step = step
        self.before: dict[str, dict[str, torch.Tensor]] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            pl_module.latents(batch)
            self.before = {name: slices(pl_module, name) for name in self.names}
            for name in self.names:
                for digest in batch.by_task()[name].digests:
                    pl_module._cache._memory[digest].x0.fill_(torch.nan)


def test_a_failed_task_stops_and_poisons_no_other(tiny: Path, roots: dict[str, Path], tmp_path: Path) -> None:
    poison = Poison("turn")
    callbacks = [poison, Scorer(), AdapterExport()]
    with pytest.warns(UserWarning, match="task turn stops: loss or gradient is not finite at step 2"):
        module = fit_stack(tiny, stack_of(roots), tmp_path / "sick", 6, callbacks=callbacks)
    healthy = fit_stack(tiny, stack_of(roots), tmp_path / "healthy", 6)
    for name in ("mirror", "invert"):
        assert_equal(slices(healthy, name), slices(module, name))
    assert_equal(poison.before["turn"], slices(module, "turn"))
    assert {f.name for f in (tmp_path / "sick" / "adapter").iterdir()} == {"mirror", "invert"}
    module.trainer.test(module, datamodule=module.trainer.datamodule, verbose=False)  # type: ignore[attr-defined]
    folder = tmp_path / "sick/scores/test/step=6"
    assert {r["attempts"] for r in read_records(folder / "turn")} == {0}, "its queries count as failures"
    assert {r["attempts"] for r in read_records(folder / "mirror")} == {1}
    scores = json.loads((folder / "scores.json").read_text())
    row = scores["scores"][scores["main"]]
    assert (row["n"], row["n_expected"]) == (5, 9), "2, 4 and 3 queries; the 4 have none"


def test_a_stack_without_a_living_task_ends(tiny: Path, roots: dict[str, Path], tmp_path: Path) -> None:
    with (
        pytest.raises(FloatingPointError, match="every task of the stack has failed, the last at step 1"),
        pytest.warns(UserWarning, match="stops"),
    ):
        fit_stack(tiny, stack_of(roots), tmp_path, 6, callbacks=[Poison(*SHOTS, step=1)])


# -- adapters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mirror", "invert"])
def test_an_exported_task_loads_in_stock_diffusers_and_in_an_ordinary_module(
    name: str, stacked: StackedModule, tiny: Path
) -> None:
    folder = adapter_folder(stacked) / name
    with stacked.stack.alone(list(SHOTS).index(name)):
        expected = stacked.backbone.probe()
    ordinary = make_module(tiny, adapter=str(folder))
    ordinary.configure_model()
    assert torch.equal(ordinary.backbone.probe(), expected)
    stock = CogVideoX(str(tiny))
    stock.load()
    stock.transformer = CogVideoXImageToVideoPipeline.from_pretrained(
        tiny, tokenizer=None, text_encoder=None
    ).transformer
    frozen = stock.probe()
    stock.pipeline.transformer = stock.transformer
    stock.pipeline.load_lora_weights(folder)
    torch.testing.assert_close(stock.probe(), expected, rtol=0, atol=1e-6)
    assert (frozen - expected).abs().max() > 1e-3
    assert json.loads((folder / "vdmfewshot.json").read_text())["task"] == name


# -- refusals -------------------------------------------------------------------------------------------------------


def refused(tiny: Path, data: StackedDataModule, folder: Path, **kwargs: Any) -> StackedModule:
    module = make_stack(tiny, **kwargs.pop("module", {}))
    make_trainer(folder, 1, **kwargs).fit(module, datamodule=data)
    return module


def test_tasks_that_do_not_fit_together_are_refused(roots: dict[str, Path]) -> None:
    def mixed(**kwargs: Any) -> StackedDataModule:
        return StackedDataModule([task(roots, "turn"), task(roots, "invert", **kwargs)])

    with pytest.raises(ValueError, match=r"one clip shape .* got \(9, 32, 32\) for 'turn' and \(9, 40, 40\)"):
        mixed(height=40, width=40).setup()
    with pytest.raises(ValueError, match="one batch_size, got 2 for 'turn' and 3 for 'invert'; set it alike"):
        mixed(batch_size=3).setup()
    with pytest.raises(ValueError, match="different names, got 'turn' more than once"):
        stack_of(roots, "turn", "turn").setup()
    with pytest.raises(ValueError, match="got none"):
        StackedDataModule([]).setup()
    with pytest.raises(ValueError, match="invert: shots must be at most 6"):
        mixed(shots=9).setup()


def test_what_would_make_tasks_meet_is_refused_before_weights(
    tiny: Path, roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CogVideoX, "load", lambda self: pytest.fail("weights were read"))
    module = make_stack(tiny)
    module.optimizer = lambda p: torch.optim.LBFGS(p)
    with pytest.raises(ValueError, match="every element on its own, got LBFGS; use one of Adam"):
        make_trainer(tmp_path, 1).fit(module, datamodule=stack_of(roots))
    with pytest.raises(ValueError, match="nearest: 13, 17"):
        refused(tiny, stack_of(roots, num_frames=16), tmp_path)
    with pytest.raises(FileNotFoundError, match="no adapter at .*mirror"):
        refused(tiny, stack_of(roots), tmp_path, module={"adapter": str(tmp_path / "nowhere")})


def test_dropout_and_checkpointing_are_refused_together(tiny: Path, roots: dict[str, Path], tmp_path: Path) -> None:
    settings = {"lora": LoraArgs(rank=4, dropout=0.1), "memory": MemoryArgs(checkpointing="full")}
    with pytest.raises(ValueError, match=r"lora.dropout must be 0 in a stack with checkpointing"):
        refused(tiny, stack_of(roots), tmp_path, module=settings)


def test_an_export_without_effect_is_named_after_all_tasks_are_saved(
    tiny: Path, roots: dict[str, Path], tmp_path: Path
) -> None:
    class Forget(Callback):
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            with torch.no_grad():
                for p in pl_module.stack.parameters:
                    p[0] = 0

    with pytest.raises(ValueError, match="turn has no effect"):
        fit_stack(tiny, stack_of(roots, "turn", "invert"), tmp_path, 2, callbacks=[Forget(), AdapterExport()])
    assert {file.parent.name for file in tmp_path.rglob("pytorch_lora_weights.safetensors")} == {"turn", "invert"}
