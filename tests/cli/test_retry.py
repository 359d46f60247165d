"""Memory that runs out costs one retry, and no result (fault test N3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import Namespace

from tests.tiny_training import adapter_weights
from vdmfewshot.cli import retry
from vdmfewshot.cli.command import main
from vdmfewshot.cli.retry import is_out_of_memory, smallest_factor, take_less
from vdmfewshot.clips.clip import ClipBatch
from vdmfewshot.training.module import FewShotModule


def config(batch: int, queries: int = 1, attempts: int = 1) -> Namespace:
    return Namespace(
        data=Namespace(init_args=Namespace(batch_size=batch, eval_batch_size=queries)),
        model=Namespace(init_args=Namespace(sampling=Namespace(max_batch=attempts))),
        trainer=Namespace(accumulate_grad_batches=2, val_check_interval=100),
    )


@pytest.mark.parametrize(("batch", "divided", "added"), [(4, 2, 4), (9, 3, 6), (5, 1, 10), (2, 1, 4)])
def test_an_optimiser_step_has_as_many_samples_as_before(batch: int, divided: int, added: int) -> None:
    less = config(batch)
    assert "batch_size" in take_less(less)
    assert (less.data.init_args.batch_size, less.trainer.accumulate_grad_batches) == (divided, added)
    assert divided * added == 2 * batch
    assert less.trainer.val_check_interval == 100 * added // 2


def test_queries_and_attempts_are_halved() -> None:
    less = config(1, queries=9, attempts=2)
    assert take_less(less) == "eval_batch_size 4, max_batch 1"
    assert take_less(config(1)) == "", "nothing is left to divide"
    assert [smallest_factor(n) for n in (1, 2, 9, 35, 13)] == [1, 2, 3, 5, 13]


def test_what_allocators_say_is_understood() -> None:
    cpu = "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
    for error in (torch.OutOfMemoryError("CUDA"), MemoryError(), RuntimeError(cpu)):
        assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**58)
    assert is_out_of_memory(found.value), "as torch says it here"


def fit(tiny: Path, pairs_root: Path, folder: Path, **options: Any) -> Any:
    given = [f"--{name}={value}" for name, value in options.items()]
    return main(
        [
            *("fit", "--model.backbone.path", str(tiny), "--data", "PairsDataModule", "--data.root", str(pairs_root)),
            *("--data.shots", "2", "--data.height", "32", "--data.width", "32", "--trainer.max_steps", "2"),
            *("--trainer.accelerator", "cpu", "--trainer.precision", "32", "--trainer.default_root_dir", str(folder)),
            *given,
        ]
    )


def small_device(patch: pytest.MonkeyPatch, room: int) -> list[int]:
    """Steps with more than so many samples do not fit; returns the sizes that were tried."""
    tried: list[int] = []
    step = FewShotModule.training_step

    def training_step(self: FewShotModule, batch: ClipBatch, batch_idx: int) -> torch.Tensor:
        tried.append(len(batch))
        if len(batch) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(self, batch, batch_idx)

    patch.setattr(FewShotModule, "training_step", training_step)
    return tried


def test_a_run_that_does_not_fit_fits_the_second_time(
    tiny: Path, pairs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {"data.batch_size": 1, "trainer.accumulate_grad_batches": 2}
    alone = adapter_weights(fit(tiny, pairs_root, tmp_path / "alone", **plain).model)
    tried = small_device(monkeypatch, room=1)
    with pytest.warns(UserWarning, match="starts again with batch_size 1, accumulate_grad_batches 2"):
        cli = fit(tiny, pairs_root, tmp_path / "small", **{"data.batch_size": 2})
    assert tried == [2, 1, 1, 1, 1]
    again = adapter_weights(cli.model)
    assert all(torch.equal(again[name], weight) for name, weight in alone.items())


def test_a_run_that_never_fits_says_what_to_set(
    tiny: Path, pairs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_device(monkeypatch, room=0)
    told = pytest.raises(ValueError, match=r"also with the smallest batches; .*memory\.checkpointing=full")
    with pytest.warns(UserWarning, match="out of memory; the run starts again"), told:
        fit(tiny, pairs_root, tmp_path, **{"data.batch_size": 2})
    assert "data.height" in retry.ADVICE
