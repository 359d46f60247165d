"""What a few options of ours mean in the terms of Lightning: arguments of its callbacks, and silence."""

from __future__ import annotations

import logging

from jsonargparse import Namespace

from vdmfewshot.callbacks.default import switched_off
from vdmfewshot.callbacks.export import AdapterExport
from vdmfewshot.data.survey import log


def silence(config: Namespace) -> None:
    """``--quiet``: no progress bar and no news; warnings, tables of scores and where results are remain.

    The level of the logger is that of the process: who calls this puts it back.
    """
    if config.quiet:
        log.setLevel(logging.WARNING)
        config.trainer.enable_progress_bar = False


def drop_switched_off(config: Namespace) -> None:
    """``enable_progress_bar: false`` and ``enable_checkpointing: false`` contradict our default callbacks."""
    trainer, off = config.trainer, switched_off(config.trainer)
    trainer.callbacks = [c for c in trainer.callbacks or [] if c.class_path.rpartition(".")[2] not in off]


def add_export(config: Namespace) -> None:
    """``--export comfyui`` is an argument of the callback that saves the adapter.

    Raises:
        ValueError: if there is no such callback.
    """
    if config.export is None:
        return
    savers = [c for c in config.trainer.callbacks if c.class_path.rpartition(".")[2] == AdapterExport.__name__]
    if not savers:
        raise ValueError(f"--export {config.export} needs the callback {AdapterExport.__name__}, which is off")
    for saver in savers:
        saver.init_args[config.export] = True
