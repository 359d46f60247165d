"""The callbacks that every run has unless it says otherwise."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lightning.pytorch import Callback

#: class and arguments of each, in order
DEFAULT: dict[str, dict[str, Any]] = {
    "lightning.pytorch.callbacks.ModelCheckpoint": {
        "save_last": True,
        "save_top_k": 0,
        "every_n_train_steps": 50,
        "save_on_exception": True,
    },
    "vdmfewshot.callbacks.progress.Progress": {},
    "vdmfewshot.callbacks.watchdog.Watchdog": {},
    "vdmfewshot.callbacks.cost.CostReport": {},
    "vdmfewshot.callbacks.latents.EncodeAhead": {},
    "vdmfewshot.callbacks.scorer.Scorer": {},
    "vdmfewshot.callbacks.leave_one_out.LeaveOneOut": {},
    "vdmfewshot.callbacks.visuals.Visuals": {},
    "vdmfewshot.callbacks.predictions.Predictions": {},
    "vdmfewshot.callbacks.export.AdapterExport": {},
}


def default_callbacks() -> list[Callback]:
    """What the command line gives its Trainer, for one of your own: ``lightning.Trainer(callbacks=…)``.

    A checkpoint to continue from, progress, the cost, latents encoded ahead, scores with ceiling and baselines,
    pictures, predictions, and the exported adapter, each in the run's folder.
    """
    callbacks = []
    for path, arguments in DEFAULT.items():
        module, _, name = path.rpartition(".")
        callbacks.append(getattr(import_module(module), name)(**arguments))
    return callbacks
