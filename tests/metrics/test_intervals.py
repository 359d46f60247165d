from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from vdmfewshot.metrics import intervals
from vdmfewshot.metrics.base import Interval
from vdmfewshot.metrics.intervals import bootstrap, percentile_interval, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # the published values of the evaluation literature, in percent
    [(0, 20, 0.0, 16.1), (3, 10, 10.8, 60.3), (218, 400, 49.6, 59.3), (67, 400, 13.4, 20.7)],
)
def test_wilson_known_values(successes, n, low, high):
    interval = wilson(successes, n)
    assert (round(100 * interval.low, 1), round(100 * interval.high, 1)) == (low, high)


def test_printed_examples_are_true():
    assert doctest.testmod(intervals) == doctest.TestResults(failed=0, attempted=2)


def test_wilson_solves_its_own_equation():
    # The bounds are the p with |p - s/n| = z sqrt(p (1 - p) / n).
    for bound in (wilson(7, 31).low, wilson(7, 31).high):
        assert abs(bound - 7 / 31) == pytest.approx(1.959963984540054 * math.sqrt(bound * (1 - bound) / 31), abs=1e-12)


def test_wilson_ends():
    assert wilson(0, 5).low == 0.0
    assert wilson(5, 5).high == 1.0
    assert wilson(0, 0) == Interval(0.0, 1.0)
    with pytest.raises(ValueError, match="got 6 of n = 5"):
        wilson(6, 5)


@pytest.mark.parametrize("n", [20, 100, 400])
def test_wilson_coverage(n):
    rng = np.random.default_rng(n)
    truths = rng.uniform(0.02, 0.98, 2000)
    drawn = [wilson(int(rng.binomial(n, p)), n) for p in truths]
    covered = np.mean([i.low <= p <= i.high for i, p in zip(drawn, truths, strict=True)])
    assert 0.93 <= covered <= 0.97


def ratio(sums):
    return {"ratio": sums[..., 0] / sums[..., 1]}


def test_bootstrap_coverage_of_a_ratio_of_sums():
    rng = np.random.default_rng(0)
    covered = []
    for experiment in range(600):
        weight = rng.uniform(0.5, 1.5, 60)
        rows = np.stack([weight * rng.beta(4, 2, 60), weight], axis=1)
        interval = bootstrap(rows, ratio, resamples=500, seed=experiment)["ratio"]
        covered.append(interval.low <= 4 / 6 <= interval.high)
    assert 0.92 <= np.mean(covered) <= 0.97


def test_bootstrap_equals_resampling_rows_one_by_one():
    rng = np.random.default_rng(1)
    rows = rng.uniform(1, 2, (25, 2))
    drawn = [rows[rng.integers(25, size=25)].sum(axis=0) for _ in range(20_000)]
    brute = np.percentile([a / b for a, b in drawn], (2.5, 97.5))
    interval = bootstrap(rows, ratio, resamples=20_000)["ratio"]
    assert (interval.low, interval.high) == pytest.approx(brute, abs=3e-3)


def test_bootstrap_is_seeded():
    rows = np.random.default_rng(0).uniform(1, 2, (9, 2))
    assert bootstrap(rows, ratio, resamples=100) == bootstrap(rows, ratio, resamples=100)
    assert bootstrap(rows, ratio, resamples=100) != bootstrap(rows, ratio, resamples=100, seed=1)


def test_percentiles_leave_undefined_values_out():
    assert percentile_interval(np.array([math.nan, 0.5, 0.5])) == Interval(0.5, 0.5)
    assert math.isnan(percentile_interval(np.array([math.nan])).low)


def test_one_sample_gives_no_interval():
    interval = bootstrap(np.array([[1.0, 2.0]]), ratio)["ratio"]
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
