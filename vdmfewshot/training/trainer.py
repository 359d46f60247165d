"""Lightning's Trainer with one more verb and with checkpoints that survive a crash."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector

from vdmfewshot.training.checkpoint import AtomicCheckpointIO

#: instructions that multiply bf16 matrices, by the names of ``torch.cpu.get_capabilities``
BF16_UNITS = ("avx512_bf16", "amx_bf16", "bf16")


def native_precision(accelerator: str, capabilities: Mapping[str, Any] | None = None) -> str:
    """The faster ``precision`` of Lightning's Trainer: ``bf16-mixed``, or ``32-true`` on CPUs without bf16 units.

    They emulate it, at a tenth of the speed of fp32.

    Args:
        accelerator: as the Trainer has it; ``auto`` is the CPU where torch finds nothing else.
        capabilities: of the CPU; asked from torch if not given, where it can tell (2.13 can).
    """
    if accelerator not in ("cpu", "auto") or (accelerator == "auto" and torch.accelerator.is_available()):
        return "bf16-mixed"
    known = getattr(torch.cpu, "get_capabilities", dict)() if capabilities is None else capabilities
    return "bf16-mixed" if any(known.get(unit) for unit in BF16_UNITS) else "32-true"


@contextmanager
def usr1_is_sigterm() -> Iterator[None]:
    """Within the context SIGUSR1 sends SIGTERM to this process, unless somebody else answers it already."""
    signals = threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGUSR1")
    if not signals or signal.getsignal(signal.SIGUSR1) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGUSR1, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


class ExplicitResume(_CheckpointConnector):
    """Finds no ``hpc_ckpt_*.ckpt`` in the working folder: a fit continues what ``ckpt_path`` names and nothing else."""

    _hpc_resume_path = None


class FewShotTrainer(Trainer):
    """``Trainer`` with atomic and checksummed checkpoints, no resuming but by name, and fit and score in one go."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._checkpoint_connector = ExplicitResume(self)
        cluster = self._accelerator_connector.cluster_environment
        if isinstance(cluster, SLURMEnvironment):
            cluster.auto_requeue = False  # it would continue from such a file
        # Only the default is replaced: sharded strategies and the user bring their own.
        if type(self.strategy.checkpoint_io) is TorchCheckpointIO:
            self.strategy.checkpoint_io = AtomicCheckpointIO()

    def exit_if_terminated(self) -> None:
        """Leave with the shell's status for SIGTERM (143); Lightning ends a terminated fit as if it were complete."""
        if self.received_sigterm:
            raise SystemExit(128 + signal.SIGTERM)

    def fit(self, model: LightningModule, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Lightning's ``fit``; validation is not left out at the end if the last step is no multiple of its interval.

        A sweep maximises a validation score that a run of few steps would otherwise never log. SIGUSR1, by which
        schedulers announce the end of a job, ends a fit like SIGTERM.
        """
        with usr1_is_sigterm():
            super().fit(model, *args, **kwargs)
        batches = self.fit_loop.total_batch_idx + 1
        interval = self.val_check_batch if self.check_val_every_n_epoch is None else 1
        due = isinstance(interval, int) and batches % interval != 0 and any(self.num_val_batches)
        if due and not self.received_sigterm and self.state.finished:
            self.validate(model, datamodule=kwargs.get("datamodule"), verbose=False)

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
