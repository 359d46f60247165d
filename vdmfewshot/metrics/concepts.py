"""ConceptARC: exact match over all inputs and within each concept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.metrics.arc import ArcMetric
from vdmfewshot.metrics.base import Interval
from vdmfewshot.metrics.intervals import wilson
from vdmfewshot.metrics.sums import divide

#: in the order of table 9 of arXiv 2510.24448; a task is called after its concept, with a number
CONCEPTS = (
    *("AboveBelow", "TopBottom2D", "TopBottom3D", "HorizontalVertical", "Center", "FilledNotFilled"),
    *("CompleteShape", "InsideOutside", "ExtractObjects", "Count", "SameDifferent", "Order"),
    *("MoveToBoundary", "ExtendToBoundary", "Copy", "CleanUp"),
)


def concept_of(task: str) -> str | None:
    """``Count7`` → ``Count``; ``None`` for tasks of no concept."""
    name = task.rsplit("/", 1)[-1].rstrip("0123456789").removesuffix("Minimal")
    return name if name in CONCEPTS else None


class ConceptMetric(ArcMetric):
    """``ArcMetric`` of three answers, and ``<concept>/pass@1`` and ``@3`` of each concept that was asked about.

    An input counts for its concept if one of the answers is right, as in Moskvichev et al. 2023 and table 9 of
    arXiv 2510.24448: 30 inputs a concept.

    Args:
        max_attempts: answers allowed.
    """

    def __init__(self, max_attempts: int = 3) -> None:
        super().__init__(max_attempts, more=3 * len(CONCEPTS))
        self.own = max_attempts + 4

    def statistics(self, record: Mapping[str, object]) -> NDArray[np.float64]:
        """Those of ``ArcMetric``, then [pass@1, pass@max, 1] of each concept."""
        rank, counts = int(str(record["rank"])), np.zeros((len(CONCEPTS), 3))
        if concept := concept_of(str(record["task"])):
            counts[CONCEPTS.index(concept)] = [rank == 1, 0 < rank <= self.max_attempts, 1]
        return np.concatenate([super().statistics(record), counts.ravel()])

    def scores(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Means over inputs, of all and of each concept."""
        found = super().scores(sums[..., : self.own])
        for i, concept in enumerate(CONCEPTS):
            first, last, count = np.moveaxis(sums[..., self.own + 3 * i : self.own + 3 * i + 3], -1, 0)
            if count.any():
                found[f"{concept}/pass@1"] = divide(first, count)
                found[f"{concept}/pass@{self.max_attempts}"] = divide(last, count)
        return found

    def intervals(self, records: Sequence[Mapping[str, object]]) -> dict[str, Interval]:
        """As ``ArcMetric``; Wilson over a concept's inputs for its scores."""
        found = super().intervals(records)
        for name in found:
            concept, _, score = name.partition("/pass@")
            if score:
                ranks = [int(str(r["rank"])) for r in records if concept_of(str(r["task"])) == concept]
                found[name] = wilson(sum(0 < rank <= int(score) for rank in ranks), len(ranks))
        return found
