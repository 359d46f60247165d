"""Callbacks of pretraining: regular export of the averaged weights and a log line with throughput and ETA."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor


class ExportWeights(Callback):
    """Writes the averaged weights in diffusers layout every few minutes and at the end."""

    def __init__(self, folder: Path, minutes: float = 5.0) -> None:
        """Write to ``folder`` every ``minutes``."""
        self.folder, self.minutes, self.last = folder, minutes, time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Export when it is time."""
        if time.monotonic() - self.last > 60 * self.minutes:
            self.last = time.monotonic()
            pl_module.export(self.folder)  # type: ignore[operator]

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Export the final weights."""
        pl_module.export(self.folder)  # type: ignore[operator]


class Throughput(Callback):
    """Logs metrics averaged over the last steps, clips a second and the time left, one line at a time."""

    def __init__(self, every: int = 100) -> None:
        """Report every ``every`` steps."""
        self.every, self.seen, self.since = every, 0, time.monotonic()
        self.sums: dict[str, float] = {}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Tensor, batch_idx: int
    ) -> None:
        """Count, and report when it is time."""
        self.seen += len(batch)
        for name, value in trainer.callback_metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)
        if trainer.global_step % self.every:
            return
        elapsed = time.monotonic() - self.since
        left = (trainer.max_steps - trainer.global_step) * elapsed / self.every / 60
        means = "  ".join(f"{name} {total / self.every:.4f}" for name, total in self.sums.items())
        rank_zero_info(f"step {trainer.global_step}  {means}  {self.seen / elapsed:.1f}/s  {left:.1f} min left")
        self.seen, self.since, self.sums = 0, time.monotonic(), {}
