"""Metrics that are functions of one vector of sums: one formula for the score, its sync and its interval."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vdmfewshot.metrics.base import Interval, TaskMetric
from vdmfewshot.metrics.intervals import bootstrap, student, wilson


class SumMetric(TaskMetric):
    """A ``TaskMetric`` whose scores depend on the records through the sum of their statistics only.

    Args:
        size: length S of the vector of statistics.
    """

    #: float64 (S,) sum over samples
    sums: Tensor
    #: scores that are proportions of samples: their interval is Wilson's
    proportions: frozenset[str] = frozenset()
    #: scores without a natural range, such as decibels: their interval is Student's
    open_ended: frozenset[str] = frozenset()

    def __init__(self, size: int) -> None:
        super().__init__()
        # Sums of thousands of pixel counts are exact in float64, and so independent of the order of samples and ranks.
        self.set_dtype(torch.float64)
        self.add_state("sums", default=torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    @abstractmethod
    def statistics(self, record: Mapping[str, Any]) -> NDArray[np.float64]:
        """(S,) additive statistics of one record."""

    @abstractmethod
    def scores(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """(..., S) sums → scores by name, each (...); NaN where a score is undefined."""

    def sizes(self, rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """(n, S) statistics of samples → how much each counts in a score, (n,) by name; all the same if not here."""
        return {}

    def update(self, record: Mapping[str, Any]) -> None:
        """Add one sample's record to the sums."""
        self.sums += torch.from_numpy(self.statistics(record)).to(self.sums.device)

    def compute(self) -> dict[str, Tensor]:
        """Scores by name, as float64 scalars."""
        scores = self.scores(self.sums.cpu().numpy())
        return {name: torch.tensor(float(value), dtype=torch.float64) for name, value in scores.items()}

    def _score(self, name: str, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.scores(sums)[name]

    def intervals(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Interval]:
        """Wilson for ``proportions``, Student for ``open_ended`` scores, Bayesian bootstrap over samples otherwise.

        None for fewer than two samples, but for proportions.
        """
        rows = np.array([self.statistics(record) for record in records]).reshape(len(records), len(self.sums))
        intervals, n = bootstrap(rows, self.scores, self.sizes(rows)), len(records)
        if not records:
            return intervals
        scores = self.scores(rows.sum(axis=0))
        open_ended = {name: student(rows, partial(self._score, name)) for name in self.open_ended}
        return intervals | open_ended | {name: wilson(round(float(scores[name]) * n), n) for name in self.proportions}


def divide(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Elementwise ratio; NaN where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    undefined = np.full(shape, np.nan)
    ratio: NDArray[np.float64] = np.divide(numerator, denominator, out=undefined, where=np.asarray(denominator) > 0)
    return ratio
