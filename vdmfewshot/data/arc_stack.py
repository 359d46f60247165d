"""Many ARC tasks at once."""

from __future__ import annotations

from typing import Any

from vdmfewshot.data.arc import ArcDataModule
from vdmfewshot.data.arc_tasks import ArcSplit, list_tasks
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.stack import ListedDataModule


class ArcStackDataModule(ListedDataModule):
    """Many ARC tasks with the same settings, one adapter each.

    Args:
        tasks: task ids; all of the source's split if not given.
        source: see ``ArcDataModule``.
        split: see ``ArcDataModule``.
        eval_batch_size: queries of a batch on each device, of whichever tasks.
        **kwargs: of every task, see ``ArcDataModule``.
    """

    def __init__(
        self,
        tasks: list[str] | None = None,
        source: str = "arcagi1",
        split: ArcSplit = "training",
        eval_batch_size: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(tasks, eval_batch_size)
        self.source = source
        self.split: ArcSplit = split
        self.options = kwargs

    def all_ids(self) -> list[str]:
        """Ids of the split, sorted."""
        return list_tasks(self.source, self.split)

    def make_task(self, task: str) -> FewShotDataModule:
        """An ``ArcDataModule``."""
        return ArcDataModule(task=task, source=self.source, split=self.split, **self.options)
