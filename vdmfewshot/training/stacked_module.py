"""The LightningModule of a stack: K tasks train at once on one frozen model, none of which notices the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn, optim

from vdmfewshot.clips.clip import ClipBatch
from vdmfewshot.clips.rng import derive_seed, run_seed
from vdmfewshot.data import views
from vdmfewshot.lora import adapters
from vdmfewshot.lora.adapters import Manifest
from vdmfewshot.lora.stacking import Stack
from vdmfewshot.training.module import FewShotModule

#: optimisers that treat every element on its own, so that tasks which share a tensor do not meet
ELEMENTWISE = (
    *(optim.Adam, optim.AdamW, optim.SGD, optim.NAdam, optim.RAdam, optim.Adamax),
    *(optim.Adagrad, optim.Adadelta, optim.RMSprop, optim.Rprop),
)


class StackedModule(FewShotModule):
    """Adapts a frozen video diffusion model to the K tasks of a ``StackedDataModule``, one adapter each, at once.

    Task k ends up with what ``FewShotModule`` makes of it alone, up to rounding: the same initial adapter, samples and
    noise, a loss, gradient norm and optimiser state of its own. A task whose gradient is not finite stops, is not
    exported and counts as failed; the others go on. Arguments are those of ``FewShotModule``; ``adapter`` is a folder
    with one adapter per task, as in ``<run>/adapter``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: why tasks have stopped, by name
        self.failures: dict[str, str] = {}
        self._kept: list[Tensor] = []

    # -- weights ------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Refuse illegal clips, missing adapters and what would make tasks meet, before any weight is read.

        Raises:
            FileNotFoundError: naming the task without an adapter.
            ValueError: for illegal clips, an optimiser that is not elementwise, or fp16.
        """
        for folder in self._folders.values():
            adapters.require_adapter(folder)
        self.backbone.check_clip(*self._datamodule.clip_shape)
        views.check(self._datamodule, self.sampling.views)
        optimizer = self.optimizer([nn.Parameter(torch.zeros(1, 1, 1))])
        if not isinstance(optimizer, ELEMENTWISE):
            raise ValueError(
                f"optimizer of a stack must treat every element on its own, got {type(optimizer).__name__}; use one of "
                f"{', '.join(kind.__name__ for kind in ELEMENTWISE)}"
            )
        if self.trainer.precision == "16-mixed":
            raise ValueError("precision of a stack must not scale the loss, which tasks share, got 16-mixed; use bf16")

    def _fill_adapter(self) -> None:
        """Turn the untrained adapter into one per task."""
        denoiser = self.backbone.denoiser
        if self.lora.dropout > 0 and getattr(denoiser, "is_gradient_checkpointing", False):
            raise ValueError("lora.dropout must be 0 in a stack with checkpointing, whose second pass would draw again")
        self.stack = Stack(denoiser, len(self._tasks))
        for task, (name, folder) in enumerate(self._folders.items()):
            with self.stack.alone(task):
                adapters.load_adapter(folder, denoiser, self._base, self._tasks[name].codec.spec_hash)

    @property
    def _folders(self) -> dict[str, Path]:
        """Where each task's adapter is to be read from; empty without ``adapter``."""
        return {} if self.adapter is None else {name: self.adapter / name for name in self._tasks}

    @property
    def _tasks(self) -> Mapping[str, Any]:
        tasks: Mapping[str, Any] = self._datamodule.tasks
        return tasks

    # -- training -----------------------------------------------------------------------------------------------------

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Sum over tasks of the mean over the task's samples: every task's gradient is that of its own mean.

        Raises:
            FloatingPointError: if every task has failed.
        """
        count = len(self._tasks)
        if self.lora.dropout > 0:
            seeds = [derive_seed(run_seed(self.seed), "dropout", part.ordinals) for part in batch.by_task().values()]
            self.stack.seed_dropout(seeds, batch.frames.device)
        losses = self.losses(batch).view(count, -1).mean(1)
        self._log_losses(losses.detach())
        # A loss that is not finite makes the task's gradient NaN on all ranks, which then stop the task together.
        return (losses * torch.where(losses.isfinite(), 1.0, torch.nan)).sum()

    def losses(self, batch: ClipBatch) -> Tensor:
        """Per-sample losses (B,), each with the adapter of its task."""
        self._route(batch.tasks)
        return super().losses(batch)

    def _route(self, tasks: Sequence[str]) -> None:
        index = {name: task for task, name in enumerate(self._tasks)}
        self.stack.route([index[name] for name in tasks])

    def _log_losses(self, losses: Tensor) -> None:
        samples = len(losses)
        running = [task for task, name in enumerate(self._tasks) if name not in self.failures]
        self.log("train/loss", losses[running].mean(), prog_bar=True, batch_size=samples)
        for name, loss in zip(self._tasks, losses, strict=True):
            self.log(f"train/loss/{name}", loss, batch_size=samples)

    def on_before_optimizer_step(self, optimizer: optim.Optimizer) -> None:
        """Stop tasks whose gradient is not finite; keep the weights of all stopped ones from the coming step."""
        finite = self.stack.gradient_norms().isfinite().tolist()
        for (name, _), good in zip(self._tasks.items(), finite, strict=True):
            if not good and name not in self.failures:
                self.failures[name] = f"loss or gradient is not finite at step {self.global_step}"
                rank_zero_warn(f"task {name} stops: {self.failures[name]}; the other tasks go on")
        if len(self.failures) == len(self._tasks):
            raise FloatingPointError(
                f"every task of the stack has failed, the last at step {self.global_step}; lower the learning rate or "
                "use dtype fp32; the last checkpoint is still good"
            )
        self.stack.clear_gradients(self._stopped)
        self._kept = self.stack.copy(self._stopped)

    def configure_gradient_clipping(
        self,
        optimizer: optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of every task's gradient on its own; clipping by value is elementwise anyway."""
        if gradient_clip_algorithm == "value":
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            self.stack.clip_gradients(float(gradient_clip_val))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and undo the step of stopped tasks: weight decay and momentum move them even without a gradient."""
        super().optimizer_step(*args, **kwargs)
        self.stack.restore(self._stopped, self._kept)

    @property
    def _stopped(self) -> list[int]:
        return [task for task, name in enumerate(self._tasks) if name in self.failures]

    # -- prediction ---------------------------------------------------------------------------------------------------

    def generate(self, batch: ClipBatch) -> ClipBatch:
        """As ``FewShotModule.generate``, each query with the adapter of its task; NaN for tasks that have stopped."""
        result = super().generate(batch)
        assert result.generated is not None, "generate fills it"
        failed = torch.tensor([name in self.failures for name in batch.tasks], device=result.generated.device)
        return replace(result, generated=result.generated.masked_fill(failed.view(-1, 1, 1, 1, 1, 1), torch.nan))

    def _announcer(self, tasks: Sequence[str]) -> Callable[[slice], None]:
        return lambda part: self._route(tasks[part])

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def trained(self) -> Iterator[tuple[str, Manifest]]:
        """The adapter of each task that has not failed, see ``FewShotModule.trained``."""
        for task, (name, data) in enumerate(self._tasks.items()):
            if name not in self.failures:
                with self.stack.alone(task):
                    yield name, self.manifest(data)

    def identity(self) -> dict[str, Any]:
        """Base, tasks and their codecs."""
        codecs = {name: data.codec.spec_hash for name, data in self._tasks.items()}
        return {"base": self._base, "list of tasks": list(codecs), "codec": codecs}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store also which tasks have stopped."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["vdmfewshot"]["failures"] = self.failures

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other tasks too."""
        super().on_load_checkpoint(checkpoint)
        self.failures = dict(checkpoint["vdmfewshot"]["failures"])
