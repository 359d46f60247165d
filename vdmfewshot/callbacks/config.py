"""The configuration of a run, kept in its folder."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback


class SaveRunConfig(SaveConfigCallback):
    """Lightning's callback; without a logger, and so without a folder of the run's own, it saves nothing.

    Lightning would write ``config.yaml`` into the working folder, and refuse every later run there because it exists.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save, once, before anything is trained."""
        if trainer.loggers:
            super().setup(trainer, pl_module, stage)
