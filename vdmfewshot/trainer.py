"""Lightning's Trainer with one more verb and with checkpoints that survive a crash."""

from __future__ import annotations

import signal
from typing import Any

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from vdmfewshot.checkpoint import AtomicCheckpointIO


class FewShotTrainer(Trainer):
    """``Trainer`` whose checkpoints are atomic and checksummed and that can fit and score in one go."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Only the default is replaced: sharded strategies and the user bring their own.
        if type(self.strategy.checkpoint_io) is TorchCheckpointIO:
            self.strategy.checkpoint_io = AtomicCheckpointIO()

    def exit_if_terminated(self) -> None:
        """Leave with the shell's status for SIGTERM (143); Lightning ends a terminated fit as if it were complete."""
        if self.received_sigterm:
            raise SystemExit(128 + signal.SIGTERM)

    def adapt(self, model: LightningModule, datamodule: LightningDataModule, ckpt_path: str | None = None) -> Any:
        """Fit an adapter on the support set, then score it on the test queries.

        Args:
            model: module to adapt.
            datamodule: support set and queries.
            ckpt_path: checkpoint to resume the fit from.

        Returns:
            What ``Trainer.test`` returns: one dictionary of scores.
        """
        self.fit(model, datamodule=datamodule, ckpt_path=ckpt_path)
        self.exit_if_terminated()
        return self.test(model, datamodule=datamodule, verbose=False)  # the scorer prints a better table
