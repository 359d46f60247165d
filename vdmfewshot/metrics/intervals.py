"""95 % intervals that keep their promise from two samples on; tests/metrics/test_coverage.py measures it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.metrics.base import Interval

#: 97.5 % quantile of the standard normal distribution
Z = 1.959963984540054
#: resamplings of a bootstrap whose statistic is a ratio of sums (cheap); evaluation reports use the same number
RESAMPLES = 10_000
#: resamplings drawn at a time, which bounds memory at CHUNK x samples weights
CHUNK = 500
#: fewer samples get no interval: one alone says nothing about its spread
FEWEST = 2
#: weight of the imaginary sample at the end of a score's range; with 1/2 the interval of a proportion is Jeffreys'
PRIOR = 0.5

Scores = Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]]
UNKNOWN = Interval(math.nan, math.nan)


def wilson(successes: float, n: int) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927, eq. 4): honest at 0 and n, unlike the normal one.

    Args:
        successes: 0 ≤ successes ≤ n.
        n: number of trials; 0 gives (0, 1): nothing is known.

    Raises:
        ValueError: if ``successes`` is outside 0 … n.

    Example:
        >>> interval = wilson(3, 10)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.108, 0.603)
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in 0 ... n, got {successes} of n = {n}")
    if n == 0:
        return Interval(0.0, 1.0)
    p, z2 = successes / n, Z * Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # rounding may leave 1e-17 where the exact bound is 0 or 1
    return Interval(0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)


def bootstrap(
    statistics: NDArray[np.float64],
    scores: Scores,
    sizes: Mapping[str, NDArray[np.float64]] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Bayesian bootstrap over samples of scores in [0, 1], with half an imaginary sample at the end of the range.

    Samples get random weights (Rubin 1981). The lower end is that of the scores if the imaginary sample were 0, the
    upper end if it were 1: what no sample has shown yet may still exist. A plain bootstrap, which only repeats what it
    saw, covers 48 % at two samples and has no width at all where all agree. Of 0/1 values this is Jeffreys' interval.

    Args:
        statistics: (n, S) additive statistics, one row a sample.
        scores: maps (..., S) sums to scores by name, each (...); equal for multiples of the sums.
        sizes: (n,) by name, how much each sample counts in a score, such as its pixels; default: all the same.
        resamples: number of resamplings.
        seed: of the resampling, so that the same records always give the same interval.

    Returns:
        by name; (NaN, NaN) for a score that is undefined and for fewer than ``FEWEST`` samples.
    """
    n, total = len(statistics), scores(statistics.sum(axis=0))
    if n < FEWEST:
        return dict.fromkeys(total, UNKNOWN)
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, resamples, CHUNK):
        weights = rng.standard_exponential((min(CHUNK, resamples - start), n))
        for name, values in scores(weights @ statistics).items():
            drawn.setdefault(name, []).append(values)
    count = {name: effective_number(size) for name, size in (sizes or {}).items()}
    return {
        name: widened(np.concatenate(drawn[name]), count.get(name, n), float(value), rng)
        for name, value in total.items()
    }


def effective_number(sizes: NDArray[np.float64]) -> float:
    """How many samples of equal size know as much (Kish 1965): few if some are much larger than the others."""
    squares = float((sizes**2).sum())
    return float(sizes.sum()) ** 2 / squares if squares > 0 else float(len(sizes))


def widened(values: NDArray[np.float64], n: float, score: float, rng: np.random.Generator) -> Interval:
    """The central 95 % of resampled scores in [0, 1], mixed with half an imaginary sample of 0 or of 1.

    Args:
        values: resampled scores; undefined ones (NaN) are left out.
        n: number of samples of equal size.
        score: of the samples themselves, which the interval always holds.
        rng: draws the weight of the imaginary sample.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0 or math.isnan(score):
        return UNKNOWN
    weight = rng.beta(PRIOR, n, finite.size)
    low = float(np.quantile((1 - weight) * finite, 0.025))
    high = float(np.quantile((1 - weight) * finite + weight, 0.975))
    return Interval(min(low, score), max(high, score))


def student(statistics: NDArray[np.float64], score: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Interval:
    """Student's t interval of a score without a natural range, from its jackknife pseudo-values (Tukey 1958).

    Args:
        statistics: (n, S) additive statistics, one row a sample.
        score: maps (..., S) sums to scores (...).

    Returns:
        (NaN, NaN) for fewer than ``FEWEST`` samples, and where all agree: then nothing is known about their spread.
    """
    n, total = len(statistics), statistics.sum(axis=0)
    if n < FEWEST:
        return UNKNOWN
    whole, pseudo = float(score(total)), n * score(total) - (n - 1) * score(total - statistics)
    error = float(np.std(pseudo, ddof=1)) / math.sqrt(n)
    # pseudo-values of equal samples differ by rounding
    if not error > 1e-12 * max(1.0, abs(whole)):
        return UNKNOWN
    half = error * student_quantile(n - 1)
    return Interval(whole - half, whole + half)


@cache
def student_quantile(degrees: int) -> float:
    """97.5 % quantile of Student's t, by bisection of its distribution (Abramowitz and Stegun, 26.7.3 and 26.7.4).

    Args:
        degrees: of freedom, ≥ 1.
    """

    def inside(angle: float) -> float:
        """P(|T| ≤ tan(angle) √degrees)."""
        odd, cosine = degrees % 2, math.cos(angle)
        term, total = (cosine, 0.0) if odd else (1.0, 0.0)
        for k in range(1 + odd, degrees, 2):
            total += term
            term *= cosine**2 * k / (k + 1)
        total *= math.sin(angle)
        return (angle + total) * 2 / math.pi if odd else total

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < 0.95 else (low, middle)
    return math.tan(low) * math.sqrt(degrees)
