from __future__ import annotations

import contextlib
import io
import json
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.metrics.samples import pair, people, score
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics import PoseMetric
from vdmfewshot.metrics.keypoint_ap import COCO_SIGMAS


def test_sigmas_are_those_of_pycocotools():
    assert pytest.approx(COCOeval(iouType="keypoints").params.kpt_oks_sigmas) == COCO_SIGMAS


def coco_scores(folder, samples):
    """pycocotools on files written as its users write them, with its own loadRes and summarize."""
    images, truth, results = [], [], []
    for i, (person, attempts) in enumerate(samples, start=1):
        target, area = np.asarray(person.target), person.meta["area"]
        target = np.where(target[:, 2:] > 0, target, 0)
        x, y = target[target[:, 2] > 0, :2].min(axis=0) if target[:, 2].any() else (0, 0)
        w, h = np.ptp(target[target[:, 2] > 0, :2], axis=0) if target[:, 2].any() else (0, 0)
        images.append({"id": i})
        ids = {"image_id": i, "category_id": 1}
        joints = {"keypoints": target.ravel().tolist(), "num_keypoints": int((target[:, 2] > 0).sum())}
        truth.append({"id": i, **ids, "iscrowd": 0, "area": area, "bbox": [x, y, w, h], **joints})
        results += [{**ids, "keypoints": a.label.ravel().tolist(), "score": a.confidence} for a in attempts]
    path = folder / "truth.json"
    path.write_text(json.dumps({"images": images, "annotations": truth, "categories": [{"id": 1, "name": "person"}]}))
    (folder / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
        evaluation = COCOeval(coco, coco.loadRes(str(folder / "results.json")), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = evaluation.stats
    return {"ap": stats[0], "ap50": stats[1], "ap75": stats[2], "ar": stats[5]}, evaluation.ious


def test_ap_and_oks_agree_with_pycocotools(tmp_path):
    metric = PoseMetric()
    rng = np.random.default_rng(5)
    samples = [people(rng, i) for i in range(200)]
    # a small person counts too: COCO's AP over all areas has no lower bound
    samples[3] = (pair("small", samples[3][0].target, area=300.0), samples[3][1])
    rows = [metric.measure(attempts, person) for person, attempts in samples]
    expected, similarities = coco_scores(tmp_path, samples)
    scores = score(metric, rows)
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, abs=1e-9), name
        assert 0.05 < value < 0.99, name
    for i, row in enumerate(rows, start=1):
        assert row["oks"] == pytest.approx(similarities[i, 1][0, 0], abs=1e-9)


def test_person_not_detected_costs_recall_as_in_coco(tmp_path):
    metric = PoseMetric()
    rng = np.random.default_rng(6)
    samples = [people(rng, i) for i in range(20)]
    rows = [metric.measure(attempts, person) for person, attempts in samples]
    for i in (2, 9, 11):
        rows[i] = metric.measure([Decoded(samples[i][1][0].label, 0.0)], samples[i][0])
        samples[i] = (samples[i][0], [])
    expected, _ = coco_scores(tmp_path, samples)
    scores = score(metric, rows)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_hidden_joints_are_joints_to_be_found():
    """Visibility 1: labelled, not seen."""
    metric, rng = PoseMetric(), np.random.default_rng(0)
    targets = [np.c_[rng.uniform(0, 50, (17, 2)), np.ones(17)] for _ in range(2)]
    found = [metric.measure([Decoded(target, 0.5)], pair(f"p{i}", target)) for i, target in enumerate(targets)]
    lost = metric.measure([], pair("p1", targets[1]))
    assert score(metric, found)["ap"] == 1
    assert score(metric, [found[0], lost])["ap"] < 0.6


def test_sizes_are_labelled_joints_and_persons_with_any():
    metric = PoseMetric(num_joints=4, sigmas=(0.05,) * 4)
    targets = [np.array([[5.0, 5, v] for v in visible]) for visible in ((2, 1, 0, 0), (2, 2, 2, 0), (0, 0, 0, 0))]
    records = [metric.measure([], pair(f"p{i}", target)) for i, target in enumerate(targets)]
    sizes = metric.sizes(np.array([metric.statistics(record) for record in records]))
    assert sizes["pck@0.1"].tolist() == [2, 3, 0]
    assert sizes["oks"].tolist() == [1, 1, 0]


def test_lost_result_counts_as_a_confident_error():
    # A person not detected would have *raised* AP here: its bad pose ranks first.
    metric = PoseMetric()
    target = np.c_[np.random.default_rng(0).uniform(0, 50, (17, 2)), np.full(17, 2)]
    good = metric.measure([Decoded(target, 0.5)], pair("a", target))
    bad = metric.measure([Decoded(target + np.array([300, 0, 0]), 0.9)], pair("b", target))
    lost = metric.measure([], pair("b", target))
    undetected = metric.measure([Decoded(target, 0.0)], pair("b", target))
    assert score(metric, [good, lost])["ap"] <= score(metric, [good, bad])["ap"]
    assert score(metric, [good, undetected])["ap"] > score(metric, [good, bad])["ap"]


def test_pck_by_hand():
    metric = PoseMetric(num_joints=4, sigmas=(0.05,) * 4)
    target = np.array([[0, 0, 2], [100, 0, 1], [0, 50, 2], [70, 70, 0]], dtype=float)
    # errors 4, 9, 21 pixels of a longest side of 100; the fourth joint is not labelled
    predicted = target + np.array([[4, 0, 0], [0, 9, 1], [0, 21, 0], [99, 0, 1]])
    row = metric.measure([Decoded(predicted, 1.0)], pair("a", target))
    scores = score(metric, [row])
    assert (scores["pck@0.05"], scores["pck@0.1"], scores["pck@0.2"]) == pytest.approx((1 / 3, 2 / 3, 2 / 3))
    assert row["distances"] == pytest.approx([0.04, 0.09, 0.21])
    boxed = metric.measure([Decoded(predicted, 1.0)], pair("a", target, bbox=(0, 0, 80, 210)))
    assert boxed["correct"] == [2, 3, 3]


def test_a_joint_exactly_at_the_limit_is_correct():
    metric = PoseMetric(num_joints=2, sigmas=(0.1, 0.1))
    target = np.array([[0, 0, 2], [100, 0, 2]], dtype=float)
    row = metric.measure([Decoded(target + np.array([[0, 5, 0], [0, 20, 0]]), 1.0)], pair("a", target))
    assert row["correct"] == [1, 1, 2]


def test_without_an_area_that_of_the_box_is_the_scale():
    metric = PoseMetric(num_joints=2, sigmas=(0.1, 0.1))
    target = np.array([[0, 0, 2], [20, 10, 2]], dtype=float)
    attempts = [Decoded(target + np.array([[3, 4, 0], [0, 0, 0]]), 1.0)]
    for meta, area in (({}, 200), ({"bbox": (1, 2, 30, 40)}, 1200), ({"bbox": (1, 2, 30, 40), "area": 500}, 500)):
        row = metric.measure(attempts, pair("a", target, **meta))
        assert row["area"] == area
        assert row["oks"] == pytest.approx((math.exp(-25 / (2 * area * 0.2**2)) + 1) / 2)
    assert (row["side"], row["offset"], row["image"]) == (40, [0, 0], None)


def test_a_box_is_at_least_a_pixel_wide():
    metric = PoseMetric(num_joints=2, sigmas=(0.1, 0.1))
    for target in ([[5, 5, 2], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]):
        row = metric.measure([], pair("a", np.array(target, dtype=float)))
        assert (row["side"], row["area"], row["oks"]) == (1, 1, 0)


def test_records_say_what_became_of_an_attempt():
    target = np.array([[0, 0, 2], [20, 10, 2]], dtype=float)

    def told(attempts):
        row = PoseMetric(2, (0.1, 0.1)).measure(attempts, pair("a", target))
        return row["missing"], row["failure"], row["score"]

    assert told([]) == (True, "no prediction", None)
    assert told([Decoded(target * [1, 1, 0], 0.5)]) == (False, "no joint found", None)
    assert told([Decoded(target * [1, 1, 0.4], 0.5)]) == (False, None, 0.5)
    assert told([Decoded(target, 3.0)]) == (False, None, 1.0)


def test_oks_by_hand():
    metric = PoseMetric(num_joints=2, sigmas=(0.1, 0.2))
    target = np.array([[0, 0, 2], [10, 0, 2]], dtype=float)
    predicted = target + np.array([[3, 4, 0], [0, 10, 0]])
    row = metric.measure([Decoded(predicted, 1.0)], pair("a", target, area=400.0))
    assert row["oks"] == pytest.approx((math.exp(-25 / 400 / 0.04 / 2) + math.exp(-100 / 400 / 0.16 / 2)) / 2)


def test_joint_not_found_is_wrong_wherever_the_truth_is():
    # The origin is where a missing joint's coordinates usually are, and here the truth is there too.
    metric = PoseMetric(num_joints=2, sigmas=(0.1, 0.1))
    target = np.array([[0, 0, 2], [40, 0, 2]], dtype=float)
    for joint in ([0, 0, 0], [math.nan, 0, 1]):
        row = metric.measure([Decoded(np.array([joint, [40, 0, 1]]), 1.0)], pair("a", target))
        assert row["correct"] == [1, 1, 1]
        assert row["oks"] == 0.5
        assert score(metric, [row])["ap50"] == pytest.approx(1.0)
        assert score(metric, [row])["ap75"] == 0.0


def test_person_without_labels_is_ignored():
    metric = PoseMetric()
    rng = np.random.default_rng(0)
    rows = [metric.measure(attempts, person) for person, attempts in (people(rng, i) for i in range(6))]
    nobody = metric.measure([Decoded(np.ones((17, 3)), 0.99)], pair("n", np.zeros((17, 3))))
    assert score(metric, [*rows, nobody]) == pytest.approx(score(metric, rows))


def test_ap_does_not_depend_on_the_order_of_equal_scores():
    metric = PoseMetric()
    rng = np.random.default_rng(0)
    rows = [metric.measure([Decoded(a[0].label, 1.0)], p) for p, a in (people(rng, i) for i in range(15))]
    values = {round(score(metric, [rows[i] for i in rng.permutation(15)])["ap"], 12) for _ in range(6)}
    assert len(values) == 1


@pytest.mark.parametrize("label", [np.zeros((3, 3)), "pose", None, [[1, 2], [3]]])
def test_malformed_prediction_counts_as_lost(label):
    row = PoseMetric().measure([Decoded(label, 1.0)], people(np.random.default_rng(0), 0)[0])
    assert row["missing"]
    assert row["oks"] == 0.0


def test_illegal_arguments_and_truth():
    with pytest.raises(ValueError, match="got 17 for num_joints = 5"):
        PoseMetric(num_joints=5)
    with pytest.raises(ValueError, match="got 0 for num_joints = 0"):
        PoseMetric(0, ())
    assert PoseMetric(1, (0.1,)).num_joints == 1
    for visibility in (1, 2):
        lost = np.full((17, 3), [math.nan, 3, visibility])
        with pytest.raises(ValueError, match=r"p-2: target must be .* with finite joints"):
            PoseMetric().measure([], pair("p-2", lost))
    assert PoseMetric().measure([], pair("p-3", np.full((17, 3), [math.nan, 3, 0])))["keypoints_true"] == [0.0] * 51
    with pytest.raises(ValueError, match=r"p-1: target must be \(17, 3\)"):
        PoseMetric().measure([], pair("p-1", np.zeros((5, 3))))


def test_people_of_one_picture_are_scored_together_as_coco_does(tmp_path):
    """Pictures of three crops, each of which shows the next person's joints: COCO matches them, alone all are wrong."""
    rng = np.random.default_rng(8)
    made = [people(rng, i) for i in range(120)]
    samples = [(person, made[3 * (i // 3) + (i + 1) % 3][1]) for i, (person, _) in enumerate(made)]
    alone = [pair(f"p{i}", p.target, area=p.meta["area"]) for i, (p, _) in enumerate(samples)]
    rows = []
    for i, (person, (_, attempts)) in enumerate(zip(alone, samples, strict=True)):
        meta = {**person.meta, "image": f"picture {i // 3}", "offset": [5.0, 7.0]}
        rows.append(PoseMetric().measure(attempts, pair(person.key, person.target, **meta)))
    images = [{"id": i} for i in range(1, 41)]
    truth, results = [], []
    for i, (person, attempts) in enumerate(samples):
        shift = np.array([5.0, 7.0, 0.0])
        target = np.where(person.target[:, 2:] > 0, person.target + shift, 0)
        ids = {"image_id": 1 + i // 3, "category_id": 1}
        joints = {"keypoints": target.ravel().tolist(), "num_keypoints": int((target[:, 2] > 0).sum())}
        truth.append({"id": i + 1, **ids, "iscrowd": 0, "area": person.meta["area"], "bbox": [0, 0, 1, 1], **joints})
        results += [{**ids, "keypoints": (a.label + shift).ravel().tolist(), "score": a.confidence} for a in attempts]
    (tmp_path / "truth.json").write_text(
        json.dumps({"images": images, "annotations": truth, "categories": [{"id": 1, "name": "person"}]})
    )
    (tmp_path / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(coco, coco.loadRes(str(tmp_path / "results.json")), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    scores, stats = score(PoseMetric(), rows), evaluation.stats
    assert scores["ap"] == pytest.approx(stats[0], abs=1e-9)
    assert scores["ar"] == pytest.approx(stats[5], abs=1e-9)
    single = score(PoseMetric(), [PoseMetric().measure(a, p) for p, (_, a) in zip(alone, samples, strict=True)])
    assert scores["ap"] > 0.05 > single["ap"], "the pictures matter"
