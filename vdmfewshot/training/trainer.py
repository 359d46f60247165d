"""Lightning's Trainer with one more verb and with checkpoints that survive a crash."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector

from vdmfewshot.training.checkpoint import AtomicCheckpointIO

#: instructions that multiply bf16 matrices, by the names of ``torch.cpu.get_capabilities``
BF16_UNITS = ("avx512_bf16", "amx_bf16", "bf16")
#: of a checkpoint, states of loggers by class
LOGGERS = "loggers"


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


@runtime_checkable
class StatefulLogger(Protocol):
    """A logger whose run goes on when training is resumed."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values, to be kept in checkpoints."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there. Called before the logger's run begins."""


def stateful(loggers: Iterable[Any]) -> list[StatefulLogger]:
    """Those that have a state."""
    return [logger for logger in loggers if isinstance(logger, StatefulLogger)]


class ExplicitResume(_CheckpointConnector):
    """Finds no ``hpc_ckpt_*.ckpt`` in the working folder: a fit continues what ``ckpt_path`` names and nothing else."""

    _hpc_resume_path = None

    def dump_checkpoint(self, weights_only: bool | None = None) -> dict[str, Any]:
        """Lightning's, with the state of loggers that have one."""
        states = {type(logger).__name__: logger.state_dict() for logger in stateful(self.trainer.loggers)}
        return {**super().dump_checkpoint(weights_only), LOGGERS: states}


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

    # the datamodule is among the arguments
    def fit(self, model: LightningModule, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Lightning's ``fit``; validation is not left out at the end if the last step is no multiple of its interval.

        A sweep maximises a validation score that a run of few steps would otherwise never log. SIGUSR1, by which
        schedulers announce the end of a job, ends a fit like SIGTERM.
        """
        self._resume_loggers(kwargs.get("ckpt_path"))
        with usr1_is_sigterm():
            super().fit(model, *args, **kwargs)
        batches = self.fit_loop.total_batch_idx + 1
        interval = self.val_check_batch if self.check_val_every_n_epoch is None else 1
        due = isinstance(interval, int) and batches % interval != 0 and any(self.num_val_batches)
        if due and not self.received_sigterm and self.state.finished:
            self.validate(model, datamodule=kwargs.get("datamodule"), verbose=False)

    def _resume_loggers(self, ckpt_path: Any) -> None:
        """Give loggers their state before Lightning starts their runs, which is before it reads the checkpoint."""
        loggers = stateful(self.loggers)
        if not loggers or ckpt_path is None or not Path(ckpt_path).is_file():
            return  # none to resume; Lightning says so of a file that is missing
        states = self.strategy.checkpoint_io.load_checkpoint(ckpt_path).get(LOGGERS, {})
        for logger in loggers:
            state = states.get(type(logger).__name__) if isinstance(states, Mapping) else None
            if isinstance(state, Mapping):
                logger.load_state_dict(state)

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
