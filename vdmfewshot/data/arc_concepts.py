"""ConceptARC: tasks of sixteen concepts from a folder of the user's, one adapter each, scored by concept."""

from __future__ import annotations

from typing import Any, ClassVar

from vdmfewshot.data.arc import ArcDataModule
from vdmfewshot.data.arc_tasks import list_tasks
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.sources import resolve
from vdmfewshot.data.stack import ListedDataModule
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.concepts import CONCEPTS, ConceptMetric, concept_of


class ConceptTaskDataModule(ArcDataModule):
    """One ConceptARC task; arguments are those of ``ArcDataModule``, with three answers allowed."""

    offered: ClassVar[bool] = False

    def __init__(self, task: str, source: str, max_attempts: int = 3, **kwargs: Any) -> None:
        super().__init__(task, source, max_attempts=max_attempts, **kwargs)

    def make_metric(self) -> TaskMetric:
        """Exact match, by concept too."""
        return ConceptMetric(self.max_attempts)


class ConceptArcDataModule(ListedDataModule):
    """ConceptARC (github.com/victorvikram/ConceptARC), 16 concepts of 10 tasks, each with an adapter of its own.

    Args:
        root: folder of the benchmark, or of its ``corpus``: a folder a concept, of JSON files in ARC format.
        concepts: names of the concepts; all if not given.
        tasks: names of the tasks, such as ``Count7``; all of the concepts if not given.
        eval_batch_size: queries of a batch on each device, of whichever tasks.
        **kwargs: of every task, see ``ArcDataModule``.

    Raises:
        ValueError: for a concept that there is not.
    """

    def __init__(
        self,
        root: str,
        concepts: list[str] | None = None,
        tasks: list[str] | None = None,
        eval_batch_size: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(tasks, eval_batch_size)
        unknown = sorted(set(concepts or ()) - set(CONCEPTS))
        if unknown:
            raise ValueError(f"concepts must be of {', '.join(CONCEPTS)}, got {', '.join(unknown)}")
        self.root = root
        self.concepts = concepts or list(CONCEPTS)
        self.options = kwargs

    def all_ids(self) -> list[str]:
        """Names of the tasks of the concepts, concept by concept."""
        found = [task.rsplit("/", 1)[-1] for task in list_tasks(self._folder, "evaluation")]
        named = [(CONCEPTS.index(concept), task) for task in found if (concept := concept_of(task)) in self.concepts]
        if not named:
            raise DataError([f"{self.root}: no task of {', '.join(self.concepts)}; it should hold Count/Count1.json …"])
        return [task for _, task in sorted(named, key=lambda item: (item[0], len(item[1]), item[1]))]

    def make_task(self, task: str) -> FewShotDataModule:
        """A ``ConceptTaskDataModule``."""
        return ConceptTaskDataModule(task, self._folder, **self.options)

    @property
    def _folder(self) -> str:
        """The corpus: the minimal tasks beside it are no part of the benchmark."""
        root = resolve(self.root)
        return str(root / "corpus" if (root / "corpus").is_dir() else root)
