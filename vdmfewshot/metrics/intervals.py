"""95 % intervals: Wilson for proportions of samples, percentile bootstrap over samples for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.metrics.base import Interval

#: 97.5 % quantile of the standard normal distribution
Z = 1.959963984540054
#: resamplings of a bootstrap whose statistic is a ratio of sums (cheap); evaluation reports use the same number
RESAMPLES = 10_000
#: resamplings drawn at a time, which bounds memory at CHUNK x samples counts
CHUNK = 500

Scores = Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]]


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
    statistics: NDArray[np.float64], scores: Scores, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Percentile bootstrap over samples of scores that are functions of sums.

    Drawing n samples with replacement and adding their statistics equals weighting them by multinomial counts, so all
    resamplings are one matrix product.

    Args:
        statistics: (n, S) additive statistics, one row a sample.
        scores: maps (..., S) sums to scores by name, each (...).
        resamples: number of resamplings.
        seed: of the resampling, so that the same records always give the same interval.

    Returns:
        the 2.5 and 97.5 percentiles by name; resamplings in which a score is undefined (NaN) are left out, and a score
        that is always undefined gets (NaN, NaN), as do all scores of fewer than two samples: one sample resampled is
        itself, which would pass for certainty.
    """
    n = len(statistics)
    if n < 2:
        names = scores(np.zeros(statistics.shape[1]))
        return dict.fromkeys(names, Interval(math.nan, math.nan))
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, resamples, CHUNK):
        counts = rng.multinomial(n, np.full(n, 1 / n), size=min(CHUNK, resamples - start))
        for name, values in scores(counts @ statistics).items():
            drawn.setdefault(name, []).append(values)
    return {name: percentile_interval(np.concatenate(values)) for name, values in drawn.items()}


def percentile_interval(values: NDArray[np.float64]) -> Interval:
    """The 2.5 and 97.5 percentiles of the finite values; (NaN, NaN) when there is none."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return Interval(math.nan, math.nan)
    low, high = np.percentile(finite, (2.5, 97.5))
    return Interval(float(low), float(high))
