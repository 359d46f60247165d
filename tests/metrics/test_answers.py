"""Depth, normals and classification by hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest

from tests.metrics.samples import pair
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics import AnswerMetric, DepthMetric, NormalMetric


def scored(metric, label, truth, confidence=0.9):
    metric.update(metric.measure([Decoded(label, confidence)], pair("a", truth)))
    return {name: float(value) for name, value in metric.compute().items()}


def test_depth_up_to_scale_and_shift_is_perfect_when_aligned():
    truth = np.random.default_rng(0).uniform(0.5, 2.0, (8, 8))
    scores = scored(DepthMetric(far=3.0), 3 * truth + 1, truth)
    assert scores["delta1"] == 1
    assert scores["abs_rel"] == pytest.approx(0, abs=1e-9)
    assert scores["delta1_metric"] == 0
    assert scores["abs_rel_metric"] == pytest.approx(float((2 + 1 / truth).mean()))


def test_depth_by_hand():
    """Without alignment: ratios 1, 1.2, 1.5 and, beyond far, one that does not count."""
    truth = np.array([[1.0, 1.0], [1.0, 5.0]])
    scores = scored(DepthMetric(far=4.0), np.array([[1.0, 1.2], [1.5, 1.0]]), truth)
    assert scores["delta1_metric"] == pytest.approx(2 / 3)
    assert scores["abs_rel_metric"] == pytest.approx(0.7 / 3)
    assert scores["abs_rel"] == pytest.approx(0, abs=1e-9), "all known depths are 1, which a shift reaches"


def test_an_even_depth_map_is_aligned_to_the_mean():
    truth = np.array([[1.0, 3.0]])
    assert scored(DepthMetric(far=4.0), np.full((1, 2), 7.0), truth)["abs_rel"] == pytest.approx((1 + 1 / 3) / 2)


def test_angles_by_hand():
    turned = [np.radians(angle) for angle in (0, 10, 20, 90)]
    truth = np.tile([0.0, 0.0, 1.0], (1, 4, 1))
    drawn = np.array([[[np.sin(a), 0.0, np.cos(a)] for a in turned]])
    scores = scored(NormalMetric(), 2 * drawn, truth)
    assert scores["angle_deg"] == pytest.approx(30.0)
    assert (scores["within_11_deg"], scores["within_22_deg"], scores["within_30_deg"]) == (0.5, 0.75, 0.75)


def test_accuracy_counts_right_answers_and_no_answer_is_wrong():
    metric = AnswerMetric()
    for label, truth, confidence in [(1, 1, 0.9), (2, 1, 0.9), (1, 1, 0.0), (0, 0, 0.1)]:
        scores = scored(metric, label, truth, confidence)
    assert scores == {"accuracy": 0.5}
    records = [metric.measure([Decoded(i % 2, 1.0)], pair(str(i), 0)) for i in range(10)]
    assert metric.intervals(records)["accuracy"].low == pytest.approx(0.2366, abs=1e-3), "Wilson of 5 in 10"


@pytest.mark.parametrize(
    ("metric", "truth", "worst"),
    [
        (DepthMetric(3.0), np.ones((2, 2)), {"delta1": 0, "abs_rel": 1, "delta1_metric": 0, "abs_rel_metric": 1}),
        (NormalMetric(), np.tile([0.0, 0.0, 1.0], (2, 2, 1)),
         {"within_11_deg": 0, "within_22_deg": 0, "within_30_deg": 0, "angle_deg": 180}),
        (AnswerMetric(), 1, {"accuracy": 0}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("label", [None, "x", np.zeros((3, 3)), np.full((2, 2), np.nan)], ids=str)
def test_what_is_no_answer_scores_worst_and_says_so(metric, truth, worst, label):
    record = metric.measure([Decoded(label, 0.9)], pair("a", truth))
    assert record["failure"]
    assert metric.measure([], pair("a", truth))["failure"]
    fresh = type(metric)(3.0) if isinstance(metric, DepthMetric) else type(metric)()
    fresh.update(record)
    assert {name: float(value) for name, value in fresh.compute().items()} == worst


@pytest.mark.parametrize(
    ("metric", "truth"),
    [(DepthMetric(1.0), np.full((2, 2), 2.0)), (NormalMetric(), np.ones((2, 2))), (AnswerMetric(), 1.5)],
)
def test_illegal_truths_are_refused(metric, truth):
    with pytest.raises(ValueError, match="target must be"):
        metric.measure([], pair("a", truth))
