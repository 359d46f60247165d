"""The callbacks that every run has unless it says otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
#: arguments of the Trainer that, if false, contradict a callback
SWITCHES = {"enable_progress_bar": "Progress", "enable_checkpointing": "ModelCheckpoint"}


def switched_off(trainer: Mapping[str, Any]) -> set[str]:
    """Names of the default callbacks that a Trainer with these arguments would refuse."""
    return {name for switch, name in SWITCHES.items() if trainer.get(switch) is False}


def default_callbacks(without: Collection[str] = ()) -> list[Callback]:
    """What the command line gives its Trainer, for one of your own: ``lightning.Trainer(callbacks=…)``.

    A checkpoint to continue from, progress, the cost, latents encoded ahead, scores with ceiling and baselines,
    pictures, predictions, and the exported adapter, each in the run's folder.

    Args:
        without: names of classes to leave out: ``{"Progress"}`` for a Trainer with ``enable_progress_bar=False``.

    Raises:
        ValueError: for a name that is none of them.
    """
    paths = {path.rpartition(".")[2]: path for path in DEFAULT}
    if unknown := sorted(set(without) - set(paths)):
        raise ValueError(f"the default callbacks are {', '.join(paths)}; got {', '.join(unknown)}")
    return [
        getattr(import_module(path.rpartition(".")[0]), name)(**DEFAULT[path])
        for name, path in paths.items()
        if name not in without
    ]
