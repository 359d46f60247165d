"""Two runs on the same queries: who wins where, and whether that can be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from vdmfewshot.cli.pages.runs import RIGHT, RunReport

RESAMPLES = 10_000


@dataclass(frozen=True)
class Comparison:
    """Scores of two runs on the queries that both answered.

    Attributes:
        first: a run.
        second: another one on the same task.
        keys: of the shared queries.
        scores: (first, second) of each.
        test: name of the test.
        p: its two-sided p-value; ``None`` where a difference has an interval instead.
        interval: 95 % of the mean difference second - first; ``None`` where there is a p-value.
    """

    first: RunReport
    second: RunReport
    keys: tuple[str, ...]
    scores: tuple[tuple[float, float], ...]
    test: str
    p: float | None
    interval: tuple[float, float] | None

    @property
    def difference(self) -> float:
        """Mean of second - first."""
        return float(np.mean([b - a for a, b in self.scores]))

    @property
    def flips(self) -> list[tuple[str, float, float]]:
        """Queries that one run has right and the other not, or for graded scores the ten that differ most."""
        rows = [(key, a, b) for key, (a, b) in zip(self.keys, self.scores, strict=True)]
        if self.p is not None:
            return [row for row in rows if (row[1] >= RIGHT) != (row[2] >= RIGHT)]
        return sorted(rows, key=lambda row: -abs(row[2] - row[1]))[:10]


def compare(first: RunReport, second: RunReport) -> Comparison | None:
    """Compare two runs of one task and one main score; ``None`` if they share fewer than two scored queries."""
    a, b = (
        {s.key: s.score for s in run.samples if s.score is not None and np.isfinite(s.score)} for run in (first, second)
    )
    keys = tuple(key for key in a if key in b)
    if len(keys) < 2 or first.main != second.main:
        return None
    scores = tuple((a[key], b[key]) for key in keys)
    if all(value in (0.0, 1.0) for pair in scores for value in pair):
        won, lost = sum(y > x for x, y in scores), sum(y < x for x, y in scores)
        return Comparison(first, second, keys, scores, "McNemar's test, exact", mcnemar(won, lost), None)
    interval = paired_bootstrap([y - x for x, y in scores])
    return Comparison(first, second, keys, scores, "paired bootstrap over queries", None, interval)


def comparisons(runs: Sequence[RunReport], limit: int = 12) -> list[Comparison]:
    """All pairs of runs of the same task, the first ``limit`` of them."""
    pairs = (compare(a, b) for a, b in combinations(runs, 2) if a.task == b.task)
    return [found for found in pairs if found is not None][:limit]


def mcnemar(won: int, lost: int) -> float:
    """Two-sided exact p-value of ``won`` and ``lost`` discordant pairs, binomial with 1/2 (McNemar, 1947)."""
    n, k = won + lost, min(won, lost)
    return min(1.0, 2.0 * sum(comb(n, i) for i in range(k + 1)) / float(2**n))


def paired_bootstrap(differences: Sequence[float]) -> tuple[float, float]:
    """95 % percentile interval of the mean of paired differences."""
    values = np.asarray(differences, dtype=np.float64)
    picks = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
