"""Progress in steps: with a handful of pairs, epochs mean nothing."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar


class Progress(RichProgressBar):
    """Lightning's progress bar without the epoch count and the version number."""

    def _get_train_description(self, current_epoch: int) -> str:
        tasks = getattr(self.trainer.datamodule, "tasks", None)  # type: ignore[attr-defined]  # set while it runs
        return "Adapting" if tasks is None else f"Adapting {len(tasks)} tasks"

    @property
    def total_train_batches(self) -> int | float:
        """Micro-batches of the whole run: Lightning's own count leaves out those before a resume, and counts them."""
        trainer = self.trainer
        whole = trainer.max_steps * trainer.accumulate_grad_batches if trainer.max_steps > 0 else float("inf")
        return min(trainer.num_training_batches, whole)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Losses only; scores are shown in the scorer's table."""
        return {k: v for k, v in super().get_metrics(trainer, pl_module).items() if k.startswith("train/")}
