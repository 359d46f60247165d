from __future__ import annotations

import numpy as np
import pytest

from tests.metrics.samples import grids, pair, score
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics import ArcMetric
from vdmfewshot.metrics.arc import as_grid, task_number, vote

TRUTH = np.array([[1, 2, 3], [4, 5, 6]])


def measured(*labels, confidences=None, **kwargs):
    confidences = confidences or [1.0] * len(labels)
    attempts = [Decoded(label, c) for label, c in zip(labels, confidences, strict=True)]
    return ArcMetric(**kwargs).measure(attempts, pair("a", TRUTH, task="t"))


def one_cell_wrong():
    grid = TRUTH.copy()
    grid[1, 2] = 0
    return grid


@pytest.mark.parametrize(
    "label",
    [one_cell_wrong(), TRUTH.T, TRUTH.astype(float), TRUTH.astype(str), TRUTH > 0, TRUTH.ravel(), TRUTH[None],
     TRUTH[:, :2], [[1, 2, 3], [4, 5]], None, np.zeros((0, 0), int)],
)  # fmt: skip
def test_only_an_exact_grid_counts(label):
    metric = ArcMetric()
    scores = score(metric, [measured(label)])
    assert scores["pass@2"] == scores["oracle@k"] == scores["task_pass@2"] == 0.0
    assert scores["cell_accuracy"] < 1.0


@pytest.mark.parametrize("label", [TRUTH, TRUTH.astype(np.uint8), TRUTH.tolist(), np.asfortranarray(TRUTH)])
def test_any_integer_type_and_layout_counts(label):
    assert score(ArcMetric(), [measured(label)])["pass@1"] == 1.0


def test_a_single_cell_is_a_grid_and_none_is_not():
    assert as_grid([[7]]).tolist() == [[7]]
    for none in (np.zeros((0, 3), int), np.zeros((3, 0), int), [], [[]], 7, [[[7]]], [["a"]]):
        assert as_grid(none) is None


def test_blank_attempt_never_scores():
    row = measured(TRUTH, confidences=[0.0])
    assert row["failure"]
    assert score(ArcMetric(), [row])["oracle@k"] == 0.0
    assert measured(TRUTH, confidences=[float("nan")])["rank"] == 0


def test_partial_credit():
    scores = score(ArcMetric(), [measured(one_cell_wrong())])
    assert scores["cell_accuracy"] == pytest.approx(5 / 6)
    assert scores["size_accuracy"] == 1.0
    scores = score(ArcMetric(), [measured(TRUTH[:, :2])])
    assert scores["cell_accuracy"] == scores["size_accuracy"] == 0.0


def test_vote_orders_by_count_then_confidence_then_appearance():
    a, b, c = (np.full((2, 2), value) for value in (1, 2, 3))
    attempts = [Decoded(a, 0.2), Decoded(b, 0.9), Decoded(c, 0.9), Decoded(c, 0.1), Decoded(a, 0.3)]
    assert [(grid[0, 0], votes) for grid, votes in vote(attempts)] == [(3, 2), (1, 2), (2, 1)]
    assert [grid[0, 0] for grid, _ in vote([Decoded(b, 0.5), Decoded(a, 0.5)])] == [2, 1]


def test_shape_is_part_of_a_grid():
    # equal cells in another shape are another answer
    flat, tall = np.ones((1, 4), int), np.ones((4, 1), int)
    assert len(vote([Decoded(flat, 1.0), Decoded(tall, 1.0)])) == 2


def test_ranks():
    a, b = np.zeros((2, 2), int), np.ones((2, 2), int)
    assert measured(TRUTH, a, a)["rank"] == 2
    third = measured(TRUTH, a, a, b, b)
    assert third["rank"] == 3
    scores = score(ArcMetric(), [third])
    assert (scores["pass@1"], scores["pass@2"], scores["oracle@k"]) == (0.0, 0.0, 1.0)
    assert score(ArcMetric(3), [measured(TRUTH, a, a, b, b, max_attempts=3)])["pass@3"] == 1.0


def official(records, k):
    """ARC prize scorer: per task the mean over inputs of 'one of the first k answers is right', then the mean."""
    tasks: dict[str, list[float]] = {}
    for truth, row in records:
        right = any(answer == truth.target.tolist() for answer in row["answers"][:k])
        tasks.setdefault(truth.meta["task"], []).append(float(right))
    fractions = [sum(solved) / len(solved) for solved in tasks.values()]
    return sum(fractions) / len(tasks), sum(f == 1 for f in fractions) / len(tasks)


@pytest.mark.parametrize("seed", range(3))
def test_tasks_against_the_official_rules(seed):
    metric = ArcMetric()
    rng = np.random.default_rng(seed)
    records = [(truth, metric.measure(attempts, truth)) for truth, attempts in (grids(rng, i) for i in range(41))]
    scores = score(metric, [row for _, row in records])
    for k in (1, 2):
        fraction, solved = official(records, k)
        assert scores[f"task_fraction@{k}"] == pytest.approx(fraction, abs=1e-12)
        assert scores[f"task_pass@{k}"] == pytest.approx(solved, abs=1e-12)
    assert 0 < scores["task_pass@2"] < scores["task_fraction@2"] < 1


def test_names_of_tasks_become_numbers_that_survive_a_tensor():
    numbers = [task_number(f"task {i}") for i in range(200)]
    assert len(set(numbers)) == 200
    assert all(number == int(number) < 2**48 for number in numbers), "far below 2^53, up to which float64 is exact"


def test_intervals_of_tasks_use_the_number_of_tasks():
    metric = ArcMetric()
    row = measured(TRUTH)
    rows = [{**row, "task": f"t{i // 2}", "rank": int(i < 3)} for i in range(8)]  # 4 tasks, the first one solved
    intervals = metric.intervals(rows)
    assert (round(intervals["task_pass@2"].low, 3), round(intervals["task_pass@2"].high, 3)) == (0.046, 0.699)
    assert (round(intervals["pass@2"].low, 3), round(intervals["pass@2"].high, 3)) == (0.137, 0.694)


def test_headline_follows_the_allowed_attempts():
    assert (ArcMetric(1).main, ArcMetric().main, ArcMetric(3).main) == ("pass@1", "pass@2", "pass@3")
    with pytest.raises(ValueError, match="max_attempts"):
        ArcMetric(0)
    with pytest.raises(ValueError, match="q-1: target must be a rectangular grid"):
        ArcMetric().measure([], pair("q-1", [[1, 2], [3]]))
