"""When to stop, and in which versions to ask, told by demonstrations that were left out: never by the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor

from vdmfewshot.callbacks.evaluation import run_folder
from vdmfewshot.callbacks.task_scores import Evaluated
from vdmfewshot.data.arc_folds import ArcFoldsDataModule
from vdmfewshot.training.module import FewShotModule


@dataclass(frozen=True)
class Held:
    """What the left-out demonstrations said at one step.

    Attributes:
        step: of training.
        right: left-out demonstrations whose first answer is right.
        count: left-out demonstrations.
        cells: mean share of right cells.
        votes: right answers of each view.
    """

    step: int
    right: int
    count: int
    cells: float
    votes: tuple[int, ...]

    @property
    def rank(self) -> tuple[int, float, int]:
        """What is compared: right ones, then cells, then the later step."""
        return self.right, self.cells, self.step

    def __str__(self) -> str:
        """``2 of 3 left-out demonstrations right, .97 of cells``."""
        return f"{self.right} of {self.count} left-out demonstrations right, {self.cells:.2f} of cells"


def held(step: int, records: Sequence[Mapping[str, Any]], views: int) -> Held:
    """Sum up the records of a validation.

    Args:
        step: of training.
        records: of ``ArcMetric``, one a left-out demonstration.
        views: versions in which each was asked.
    """
    votes = [0] * views
    for record in records:
        right = record["right"]
        for attempt, hit in enumerate(right):
            votes[attempt * views // len(right)] += hit
    right = sum(record["rank"] == 1 for record in records)
    cells = sum(record["cell_accuracy"] for record in records) / len(records)
    return Held(step, right, len(records), cells, tuple(votes))


def kept_views(votes: Sequence[int]) -> list[int]:
    """Views that answer left-out demonstrations at least as well as the query itself, view 0, which is always kept.

    Where none of them is ever right there is no sign that the rule holds in other versions: the query alone is left.
    """
    return [view for view, count in enumerate(votes) if view == 0 or (count > 0 and count >= votes[0])]


@rank_zero_only
def say(text: str) -> None:
    """A line for people."""
    Console().print(text, highlight=False, markup=False)


class LeaveOneOut(Callback):
    """Keeps the adapters of the step at which left-out demonstrations were answered best, and the views that helped.

    It acts on ``--data.leave_out auto`` alone, at every validation (``trainer.val_check_interval``); before the export
    and the test it puts the chosen weights back and says in a line what was chosen and why.
    """

    def __init__(self) -> None:
        self._history: list[Held] = []
        self._weights: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier fit."""
        if stage == "fit":
            self._history, self._weights = [], {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read what the validation found, and keep the weights if it is the best so far."""
        # the datamodule is set while it runs
        if trainer.sanity_checking or not isinstance(trainer.datamodule, ArcFoldsDataModule):  # type: ignore[attr-defined]
            return
        assert isinstance(pl_module, FewShotModule), "its data need it"
        records = Evaluated.read(run_folder(trainer) / "scores" / "val" / f"step={trainer.global_step}").records
        found = held(trainer.global_step, records, pl_module.sampling.views)
        if not self._history or found.rank > self._best.rank:
            self._weights = {name: tensor.detach().cpu().clone() for name, tensor in pl_module.state_dict().items()}
        self._history.append(found)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the best weights back and ask the test in the views that are kept."""
        if not self._history:
            return
        assert isinstance(pl_module, FewShotModule), "its data need it"
        pl_module.load_state_dict(self._weights, strict=False)
        best, last = self._best, self._history[-1]
        steps = ", ".join(str(entry.step) for entry in self._history)
        other = "" if best is last else f"; the last had {last}"
        say(f"leave-one-out: of steps {steps}, step {best.step} is taken: {best}{other}")
        if pl_module.sampling.views > 1:
            self._choose_views(trainer.datamodule, pl_module, best)  # type: ignore[attr-defined]  # set while it runs

    def _choose_views(self, data: ArcFoldsDataModule, module: FewShotModule, best: Held) -> None:
        kept = kept_views(best.votes)
        data.whole.asked_views = kept
        numbers = ", ".join(map(str, kept))
        say(
            f"leave-one-out: of {len(best.votes)} views, {len(kept)} are asked ({numbers}): the query itself, right "
            f"{best.votes[0]} times, and those that were right as often"
        )
        module.sampling = replace(module.sampling, views=len(kept))

    @property
    def _best(self) -> Held:
        return max(self._history, key=lambda entry: entry.rank)

    def state_dict(self) -> dict[str, Any]:
        """What has been seen, so that a resumed fit chooses among all steps."""
        return {"history": [list(vars(entry).values()) for entry in self._history], "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        entries = state_dict["history"]
        self._history = [Held(step, right, n, cells, tuple(votes)) for step, right, n, cells, votes in entries]
        self._weights = state_dict["weights"]
