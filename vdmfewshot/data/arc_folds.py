"""One ARC task with leave-one-out inside its demonstrations: what stops training and chooses views without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from vdmfewshot.data.arc import ArcDataModule
from vdmfewshot.data.arc_tasks import load_task
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.examples import Splits
from vdmfewshot.data.stack import StackedDataModule

#: demonstrations that are left out at most
FOLDS = 3


class ArcFold(ArcDataModule):
    """A task without one of its demonstrations, which is asked in validation; it has no say in the test."""

    offered: ClassVar[bool] = False

    def __init__(self, task: str, leave_out: int, **kwargs: Any) -> None:
        super().__init__(task, leave_out=leave_out, **kwargs)
        self.task_name = f"{self.task_name}-without-{leave_out}"

    def load(self) -> Splits:
        """All but the left-out demonstration train, the left-out one validates."""
        splits = super().load()
        return Splits(splits.pool, validate=splits.validate)


class ArcFoldsDataModule(StackedDataModule):
    """A task with all demonstrations, and beside it, in the same stack, folds that each leave one of them out.

    The folds cost a training each and say, without any label of the test, how long to train and in which versions to
    ask (``sampling.views``): callback ``LeaveOneOut``. ``--data.leave_out auto`` of an ``ArcDataModule`` is this.

    Args:
        task: see ``ArcDataModule``.
        leave_out: ``auto``.
        folds: demonstrations that are left out at most, the first ones.
        eval_batch_size: queries of a batch on each device.
        **kwargs: see ``ArcDataModule``.

    Raises:
        ValueError: if ``leave_out`` is anything but ``auto``, or the task has a single demonstration.
    """

    def __init__(
        self, task: str, leave_out: str = "auto", folds: int = FOLDS, eval_batch_size: int = 8, **kwargs: Any
    ) -> None:
        super().__init__([], eval_batch_size)
        if leave_out != "auto":
            raise ValueError(f"leave_out must be auto for folds, got {leave_out!r}; a number is for ArcDataModule")
        if folds < 1:
            raise ValueError(f"folds must be at least 1, got {folds}")
        self.task = task
        self.folds = folds
        self.options = kwargs

    def make_tasks(self) -> Sequence[FewShotDataModule]:
        """The whole task first, then its folds."""
        whole = ArcDataModule(task=self.task, **self.options)
        count = len(load_task(whole.source, whole.split, self.task).train)
        if count < 2:
            raise ValueError(
                f"leave_out auto needs at least two demonstrations, {self.task} has {count}; set --data.leave_out null"
            )
        left_out = range(min(self.folds, count))
        return [whole, *(ArcFold(task=self.task, leave_out=index, **self.options) for index in left_out)]

    @property
    def whole(self) -> ArcDataModule:
        """The task with all demonstrations; available after ``setup``."""
        first = next(iter(self.tasks.values()))
        assert isinstance(first, ArcDataModule), "the whole task comes first"
        return first

    @property
    def task_name(self) -> str:
        """Heads tables: the task, and how many folds there are."""
        return f"{self.whole.task_name} and {len(self.tasks) - 1} folds"
