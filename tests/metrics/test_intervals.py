from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import torch

from vdmfewshot.metrics import intervals
from vdmfewshot.metrics.base import Interval
from vdmfewshot.metrics.intervals import bootstrap, effective_number, student, student_quantile, widened, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # the published values of the evaluation literature, in percent
    [
        (0, 20, 0.0, 16.1),
        (1, 10, 1.8, 40.4),
        (9, 10, 59.6, 98.2),
        (3, 10, 10.8, 60.3),
        (218, 400, 49.6, 59.3),
        (67, 400, 13.4, 20.7),
    ],
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
    for n in range(1, 60):
        assert (wilson(0, n).low, wilson(n, n).high) == (0.0, 1.0), "exactly, whatever the rounding"
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
    assert 0.93 <= np.mean(covered) <= 0.995


def mean(sums):
    return {"mean": sums[..., 0] / sums[..., 1]}


@pytest.mark.parametrize(("solved", "n"), [(0, 12), (3, 12), (12, 12), (1, 2)])
def test_bootstrap_of_zeros_and_ones_is_that_of_jeffreys(solved, n):
    # The ends are quantiles of Beta(k, n - k + 1/2) and Beta(k + 1/2, n - k); a beta of 0 is the value 0.
    rows = np.column_stack([np.arange(n) < solved, np.ones(n)])
    interval, rng = bootstrap(rows, mean)["mean"], np.random.default_rng(5)
    low = np.quantile(rng.beta(solved, n - solved + 0.5, 400_000), 0.025) if solved else 0.0
    high = np.quantile(rng.beta(solved + 0.5, n - solved, 400_000), 0.975) if solved < n else 1.0
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=6e-3)


def test_where_all_agree_there_is_still_a_width():
    interval = bootstrap(np.column_stack([np.zeros(12), np.ones(12)]), mean)["mean"]
    assert interval.low == 0
    assert 0.15 < interval.high < 0.25
    assert 0.6 < bootstrap(np.column_stack([np.zeros(2), np.ones(2)]), mean)["mean"].high < 0.95


def test_many_samples_give_the_width_of_an_ordinary_bootstrap():
    rng = np.random.default_rng(1)
    rows = np.column_stack([rng.beta(4, 2, 1000), np.ones(1000)])
    drawn = [rows[rng.integers(1000, size=1000), 0].mean() for _ in range(4000)]
    interval = bootstrap(rows, mean)["mean"]
    assert (interval.low, interval.high) == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=3e-3)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 10, 399])
def test_quantiles_of_students_t(degrees):
    t = student_quantile(degrees)
    grid = np.linspace(-t, t, 400_001)
    log_density = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(degrees * math.pi) / 2
    density = np.exp(log_density - (degrees + 1) / 2 * np.log1p(grid**2 / degrees))
    assert torch.trapezoid(*map(torch.from_numpy, (density, grid))).item() == pytest.approx(0.95, abs=1e-6)


def test_student_of_a_mean_is_the_textbook_formula():
    values = np.array([21.0, 24.5, 19.0, 30.0])
    interval = student(np.column_stack([values, np.ones(4)]), lambda sums: sums[..., 0] / sums[..., 1])
    half = 3.182446 * values.std(ddof=1) / 2
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=1e-5)


@pytest.mark.parametrize("value", [0.1, 1e6 + 0.1, 1e9 / 3])
def test_student_of_equal_values_knows_nothing(value):
    rows = np.column_stack([np.full(9, value), np.ones(9)])
    assert math.isnan(student(rows, lambda sums: sums[..., 0] / sums[..., 1]).low)


def test_bootstrap_is_seeded():
    rows = np.random.default_rng(0).uniform(1, 2, (9, 2))
    assert bootstrap(rows, ratio, resamples=100) == bootstrap(rows, ratio, resamples=100, seed=0)
    assert bootstrap(rows, ratio, resamples=100) != bootstrap(rows, ratio, resamples=100, seed=1)


@pytest.mark.parametrize("resamples", [1, 499, 1200])
def test_as_many_resamplings_are_drawn_as_asked_for_a_few_at_a_time(resamples):
    rows, drawn = np.random.default_rng(0).uniform(1, 2, (9, 2)), []

    def counted(sums):
        drawn.append(len(np.atleast_2d(sums)))
        return ratio(sums)

    bootstrap(rows, counted, resamples=resamples)
    assert sum(drawn[1:]) == resamples, "the first call is for the score itself"
    assert max(drawn) <= 500


def test_undefined_scores_are_left_out():
    rng = np.random.default_rng(0)
    low, high = (getattr(widened(np.array([math.nan, 0.5, 0.5]), 10**9, 0.5, rng), end) for end in ("low", "high"))
    assert (low, high) == pytest.approx((0.5, 0.5), abs=1e-6)
    for values, whole in ((math.nan, math.nan), (math.nan, 0.5), (0.5, math.nan)):
        assert math.isnan(widened(np.array([values]), 9, whole, rng).low)


def test_one_value_is_enough_to_widen():
    interval = widened(np.array([0.5]), 9, 0.5, np.random.default_rng(0))
    assert 0 < interval.low <= 0.5 <= interval.high < 1


@pytest.mark.parametrize(
    ("sizes", "number"),
    [((1, 1, 1), 3), ((0.1, 0.1, 0.1), 3), ((1, 1, 2), 16 / 6), ((0.1, 0.1, 0.2), 16 / 6), ((9, 0, 0), 1), ((0, 0), 2)],
)
def test_few_samples_that_are_much_larger_count_as_few(sizes, number):
    assert effective_number(np.array(sizes, float)) == pytest.approx(number)


def test_one_sample_gives_no_interval():
    interval = bootstrap(np.array([[1.0, 2.0]]), ratio)["ratio"]
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert math.isnan(student(np.array([[1.0, 2.0]]), lambda sums: sums[..., 0]).low)
