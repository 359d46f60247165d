"""Paired tests against brute force."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from vdmfewshot.cli.pages.compare import compare, comparisons, mcnemar, paired_bootstrap
from vdmfewshot.cli.pages.runs import RunReport, Sample


def run(name: str, scores: dict[str, float | None], task: str = "t", main: str = "pass@1") -> RunReport:
    samples = tuple(Sample(key, score, None, None) for key, score in scores.items())
    return RunReport(Path(name), task, main, {main: {}}, 1.0, samples, {})


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (5, 1), (3, 3), (0, 8)])
def test_mcnemar_is_the_sum_over_all_coin_tosses(won: int, lost: int) -> None:
    n = won + lost
    as_extreme = [abs(2 * sum(toss) - n) >= abs(won - lost) for toss in product((0, 1), repeat=n)]
    assert mcnemar(won, lost) == pytest.approx(np.mean(as_extreme))


def test_the_bootstrap_interval_is_that_of_the_mean() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0.3, 1.0, 400)
    low, high = paired_bootstrap(values.tolist())
    assert low == pytest.approx(values.mean() - 1.96 * values.std() / 20, abs=0.02)
    assert high == pytest.approx(values.mean() + 1.96 * values.std() / 20, abs=0.02)


def test_right_and_wrong_answers_get_flips_and_a_p_value() -> None:
    found = compare(run("a", {"x": 1.0, "y": 0.0, "z": 0.0}), run("b", {"x": 1.0, "y": 1.0, "z": 0.0, "w": 1.0}))
    assert found is not None
    assert found.keys == ("x", "y", "z")
    assert found.flips == [("y", 0.0, 1.0)]
    assert found.p == 1.0
    assert found.interval is None
    assert found.difference == pytest.approx(1 / 3)


def test_graded_scores_get_an_interval_and_the_largest_differences() -> None:
    a = {f"k{i:02d}": 0.5 for i in range(15)}
    found = compare(run("a", a), run("b", {key: 0.5 + i / 100 for i, key in enumerate(a)}))
    assert found is not None
    assert found.p is None
    assert found.flips[0] == ("k14", 0.5, 0.64)
    assert len(found.flips) == 10


def test_only_runs_of_one_task_and_score_are_compared() -> None:
    scores = {"x": 0.1, "y": 0.4}
    runs = [run("a", scores), run("b", scores, task="u"), run("c", scores, main="iou"), run("d", {"x": 0.2})]
    assert comparisons(runs) == []
