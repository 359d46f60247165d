"""One adaptation in a thread of its own: ``vdmfewshot.adapt``, watched and ended from outside."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

import vdmfewshot as vdm
from vdmfewshot.backbones import Backbone
from vdmfewshot.callbacks.evaluation import run_folder
from vdmfewshot.cli.errors import is_explained
from vdmfewshot.storage.errors import storage_error

#: one device: adaptations and predictions of all visitors take turns
DEVICE = threading.Lock()
#: predictions on the held-out picture within a training
LOOKS = 8


class Cancelled(Exception):
    """Somebody does not want the answer any more."""


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        pairs: files of inputs and targets.
        target: ``mask`` or ``image``.
        model: a name out of ``experiments/model``, or a backbone.
        steps: of the training.
        held: whether one of the pairs is left out of the training, to look at and to score.
        data: further arguments of ``PairsDataModule``.
    """

    pairs: Sequence[tuple[Path, Path]]
    target: Any
    model: str | Backbone
    steps: int
    held: bool
    data: dict[str, Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of data and Trainer that hold one pair out; none where all train."""
        if not self.held or len(self.pairs) < 2:
            return {}
        return {"val_fraction": round(1 / len(self.pairs), 4), "val_check_interval": max(1, self.steps // LOOKS)}


class Adaptation(threading.Thread):
    """Runs a plan.

    Attributes:
        step: steps that are done.
        phase: what happens now, for people.
        picture: the latest prediction on the held-out picture: input, generated, decoded, truth and error.
        seen: the step of that prediction.
        scores: on the held-out picture, by name.
        result: the adapted model, once there is one.
        failure: why there is none, for people; "" if there is.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        super().__init__(name="adaptation", daemon=True)
        self.plan = plan
        self.folder = folder
        self.step = 0
        self.phase = "waiting for another adaptation to end" if DEVICE.locked() else "loading the model"
        self.picture: Path | None = None
        self.seen = 0
        self.scores: dict[str, float] = {}
        self.result: vdm.Adapted | None = None
        self.failure = ""
        self.cancelled = threading.Event()

    def run(self) -> None:
        """Adapt; nothing is raised."""
        try:
            with taking_turns(self.cancelled):
                self.phase = "loading the model"
                self.result = self._adapt()
        except Cancelled:
            self.failure = "cancelled"
        except BaseException as error:
            self.failure = told(error, self.folder)

    def _adapt(self) -> vdm.Adapted:
        data = {**self.plan.data, **self.plan.arguments}
        trainer: dict[str, Any] = {"callbacks": [Watch(self)]}
        if "val_check_interval" in data:
            trainer["val_check_interval"] = data.pop("val_check_interval")
        return vdm.adapt(
            self.plan.pairs,
            self.plan.target,
            self.plan.model,
            steps=self.plan.steps,
            folder=self.folder / "runs",
            trainer=trainer,
            **data,
        )


class Watch(Callback):
    """Tells an adaptation how far its run is, and ends the run when nobody wants it any more."""

    def __init__(self, job: Adaptation) -> None:
        self.job = job

    def _check(self) -> None:
        if self.job.cancelled.is_set():
            raise Cancelled

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Frames are encoded before the first step."""
        self._check()
        self.job.phase = "encoding the pictures"

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Training begins, or goes on."""
        self._check()
        self.job.phase = "adapting"

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One more step."""
        self._check()
        self.job.step = trainer.global_step

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A look at the held-out picture."""
        self._check()
        self.job.phase = "predicting the held-out picture"

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What ``Visuals`` drew and the scorer measured."""
        found = sorted(run_folder(trainer).glob(f"pictures/val/step={trainer.global_step}/*.png"))
        if found:
            self.job.picture, self.job.seen = found[0], trainer.global_step
        scores = trainer.callback_metrics.items()
        self.job.scores = {name.removeprefix("val/"): float(v) for name, v in scores if name.startswith("val/")}


@contextmanager
def taking_turns(cancelled: threading.Event | None = None) -> Iterator[None]:
    """Wait for the device.

    Raises:
        Cancelled: if the event is set before it is free.
    """
    while not DEVICE.acquire(timeout=0.2):
        if cancelled is not None and cancelled.is_set():
            raise Cancelled
    try:
        yield
    finally:
        DEVICE.release()


def told(error: BaseException, folder: Path) -> str:
    """An error for people: what our own code says of it, as on the command line, without the folder's own path."""
    known = storage_error(error)
    if known is None and not is_explained(error):
        logging.getLogger(__name__).error("the app met an error that is no mistake of a person", exc_info=error)
        return f"this should not have happened ({type(error).__name__}); the terminal that runs the app says more"
    return str(known or error).replace(f"{folder}/", "").replace("pairs/input/", "").replace("pairs/target/", "")
