"""Intervals keep their promise: 2000 simulated experiments at every n (fault test M8).

``--junitxml`` keeps the figures that docs/reliability.md quotes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from vdmfewshot.metrics.base import Interval
from vdmfewshot.metrics.intervals import bootstrap, student
from vdmfewshot.metrics.segmentation import SegmentationMetric
from vdmfewshot.metrics.sums import divide

EXPERIMENTS = 2000
SIZES = (2, 3, 5, 10, 20, 50, 100, 400)
Property = Callable[[str, object], None]
Draw = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]


def failing(rate: float) -> Draw:
    """Good scores, and failures that score 0."""
    return lambda rng, shape: np.where(rng.random(shape) < rate, 0.0, rng.beta(8, 2, shape))


#: what scores of samples look like, with their mean
SCORES: dict[str, tuple[Draw, float]] = {
    "even": (lambda rng, shape: rng.beta(4, 2, shape), 4 / 6),
    "narrow": (lambda rng, shape: rng.beta(160, 40, shape), 0.8),
    "two camps": (lambda rng, shape: rng.beta(0.5, 0.5, shape), 0.5),
    "mostly perfect": (lambda rng, shape: rng.beta(2, 0.3, shape), 2 / 2.3),
    "every fifth fails": (failing(0.2), 0.8 * 0.8),
    "every twentieth fails": (failing(0.05), 0.95 * 0.8),
    "one in ten solved": (lambda rng, shape: (rng.random(shape) < 0.1).astype(float), 0.1),
    "never solved": (lambda rng, shape: np.zeros(shape), 0.0),
}


def coverage(intervals: list[Interval], truth: float) -> float:
    return float(np.mean([interval.low <= truth <= interval.high for interval in intervals]))


def of_means(values: NDArray[np.float64], seed: int) -> list[Interval]:
    """Intervals of the mean of every column, by one bootstrap whose weights they share."""
    columns = values.shape[1]
    rows = np.column_stack([values, np.ones(len(values))])

    def means(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {str(i): divide(sums[..., i], sums[..., -1]) for i in range(columns)}

    return list(bootstrap(rows, means, resamples=2000, seed=seed).values())


@pytest.mark.slow
@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("n", SIZES)
def test_bootstrap_covers_means_of_scores(name: str, n: int, record_property: Property) -> None:
    draw, truth = SCORES[name]
    rng, found = np.random.default_rng(n), []
    for part in range(EXPERIMENTS // 100):
        found += of_means(draw(rng, (n, 100)), seed=part)
    covered = coverage(found, truth)
    record_property("coverage", round(covered, 4))
    record_property("width", round(float(np.mean([i.high - i.low for i in found])), 3))
    assert covered >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("n", SIZES)
def test_bootstrap_covers_the_iou_of_a_data_set(n: int, record_property: Property) -> None:
    """Objects of very different size, one in seven missed: a ratio of sums, with the metric's own statistics."""
    rng, metric, found = np.random.default_rng(n), SegmentationMetric(), []
    for seed in range(EXPERIMENTS):
        union = rng.lognormal(6, 1, n)
        iou = np.where(rng.random(n) < 1 / 7, 0.0, rng.beta(8, 2, n))
        rows = np.zeros((n, len(metric.sums)))
        rows[:, 1], rows[:, 3], rows[:, 5], rows[:, -1] = iou * union, union, iou * union, 1
        found.append(bootstrap(rows, metric.scores, metric.sizes(rows), resamples=1000, seed=seed)["iou_dataset"])
    covered = coverage(found, 6 / 7 * 0.8)
    record_property("coverage", round(covered, 4))
    assert covered >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize("n", SIZES)
def test_student_covers_decibels_and_means_of_support_sets(n: int, record_property: Property) -> None:
    rng, found = np.random.default_rng(n), []
    for _ in range(EXPERIMENTS):
        rows = np.column_stack([rng.normal(24, 4, n), np.ones(n)])
        found.append(student(rows, lambda sums: sums[..., 0] / sums[..., 1]))
    covered = coverage(found, 24)
    record_property("coverage", round(covered, 4))
    assert 0.93 <= covered <= 0.97
