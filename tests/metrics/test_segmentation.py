from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.classification import BinaryJaccardIndex, MulticlassF1Score, MulticlassJaccardIndex

from tests.metrics.samples import label_maps, masks, pair, score
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics import SegmentationMetric
from vdmfewshot.metrics.segmentation import boundary_f, contour


def measured(metric, sample, n=1000):
    rng = np.random.default_rng(3)
    samples = [sample(rng, i) for i in range(n)]
    return samples, [metric.measure(attempts, truth) for truth, attempts in samples]


def tensors(samples):
    predicted = torch.from_numpy(np.stack([attempts[0].label for _, attempts in samples])).long()
    return predicted, torch.from_numpy(np.stack([truth.target for truth, _ in samples])).long()


def test_binary_agrees_with_torchmetrics():
    metric = SegmentationMetric()
    samples, rows = measured(metric, masks)
    predicted, truth = tensors(samples)
    scores = score(metric, rows)
    assert scores["iou_dataset"] == pytest.approx(
        float(BinaryJaccardIndex(ignore_index=255)(predicted, truth)), abs=1e-6
    )
    both = MulticlassJaccardIndex(2, average=None, ignore_index=255)(predicted, truth)
    assert scores["fb_iou"] == pytest.approx(float(both.mean()), abs=1e-6)
    assert [scores["iou_class_0"], scores["iou_class_1"]] == pytest.approx(both.tolist(), abs=1e-6)
    f1 = MulticlassF1Score(2, average=None, ignore_index=255)(predicted, truth)
    assert scores["dice"] == pytest.approx(float(f1[1]), abs=1e-6)


def test_multiclass_agrees_with_torchmetrics():
    metric = SegmentationMetric(4)
    samples, rows = measured(metric, label_maps)
    predicted, truth = tensors(samples)
    scores = score(metric, rows)
    per_class = MulticlassJaccardIndex(4, average=None, ignore_index=255)(predicted, truth)
    assert scores["iou_dataset"] == pytest.approx(float(per_class.mean()), abs=1e-6)
    assert [scores[f"iou_class_{k}"] for k in range(4)] == pytest.approx(per_class.tolist(), abs=1e-6)
    f1 = MulticlassF1Score(4, average="macro", ignore_index=255)(predicted, truth)
    assert scores["dice"] == pytest.approx(float(f1), abs=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_of_an_image_against_sets_of_pixels(classes):
    """Small images, so that classes of one pixel and classes that only one side has occur."""
    metric, rng = SegmentationMetric(classes), np.random.default_rng(0)
    rows, ious, unions = [], [], []
    for i in range(200):
        truth, predicted = rng.integers(0, classes, (2, 2, 3))
        truth[0, 0] = 255
        row = metric.measure([Decoded(predicted, 1.0)], pair(f"s{i}", truth))
        sets = [[{*np.flatnonzero((m == k) & (truth != 255))} for m in (predicted, truth)] for k in range(classes)]
        counted = sets[1:] if classes == 2 else sets
        shares = [len(p & t) / len(p | t) for p, t in counted if p | t]
        ious.append(np.mean(shares) if shares else 1.0)
        unions.append([len(p | t) for p, t in sets])
        assert row["iou"] == pytest.approx(ious[-1])
        rows.append(row)
    scores, sizes = score(metric, rows), metric.sizes(np.array([metric.statistics(row) for row in rows]))
    assert scores["iou_image"] == pytest.approx(np.mean(ious))
    assert scores["boundary_f"] == pytest.approx(np.mean([row["boundary_f"] for row in rows]))
    for k in range(classes):
        assert sizes[f"iou_class_{k}"].tolist() == [union[k] for union in unions]
    whole = [union[1] if classes == 2 else sum(union) for union in unions]
    assert sizes["iou_dataset"].tolist() == sizes["dice"].tolist() == sizes["fb_iou"].tolist() == whole


def test_image_iou_is_a_mean_of_images_and_dataset_iou_is_not():
    metric = SegmentationMetric()
    small, large = np.zeros((10, 10), bool), np.ones((10, 10), bool)
    small[0, 0] = True
    rows = [
        metric.measure([Decoded(~small, 1.0)], pair("a", small)),
        metric.measure([Decoded(large, 1.0)], pair("b", large)),
    ]
    scores = score(metric, rows)
    assert scores["iou_image"] == 0.5
    assert scores["iou_dataset"] == 0.5  # 100 / (100 + 100)
    rows[0] = metric.measure([Decoded(np.zeros((10, 10), bool), 1.0)], pair("a", small))
    scores = score(metric, rows)
    assert scores["iou_image"] == 0.5
    assert scores["iou_dataset"] == pytest.approx(100 / 101)


def test_empty_prediction_of_empty_truth_is_right():
    metric = SegmentationMetric()
    empty = np.zeros((6, 6), bool)
    right = metric.measure([Decoded(empty, 0.0)], pair("a", empty))
    assert (right["iou"], right["boundary_f"]) == (1.0, 1.0)
    assert score(metric, [right])["iou_dataset"] == 1.0
    wrong = metric.measure([Decoded(~empty, 1.0)], pair("a", empty))
    assert (wrong["iou"], wrong["boundary_f"]) == (0.0, 0.0)
    assert score(metric, [right, wrong])["iou_dataset"] == 0.0


def test_ignored_pixels_count_neither_way():
    metric = SegmentationMetric()
    truth = np.array([[1, 0, 255], [1, 0, 255]], dtype=np.uint8)
    for garbage in (0, 1):
        predicted = np.array([[1, 0, garbage], [1, 0, garbage]], dtype=np.uint8)
        row = metric.measure([Decoded(predicted, 1.0)], pair("a", truth))
        assert row["iou"] == 1.0
        assert sum(row["truth"]) == 4


@pytest.mark.parametrize("label", [np.zeros((3, 4), bool), np.zeros((5, 5)), "mask", None, np.full((5, 5), -1),
                                   np.full((5, 5), 256), np.zeros((0, 5), int), np.zeros((5, 5, 1), int)])  # fmt: skip
def test_malformed_prediction_is_a_failure(label):
    metric = SegmentationMetric()
    row = metric.measure([Decoded(label, 1.0)], pair("a", np.eye(5, dtype=bool)))
    assert row["failure"]
    assert score(metric, [row])["iou_dataset"] == 0.0


def test_missing_is_no_better_than_the_worst_prediction():
    # Counting a missing mask as empty would beat a prediction of the complement.
    metric = SegmentationMetric()
    truth = np.zeros((8, 8), bool)
    truth[:4] = True
    good = metric.measure([Decoded(truth, 1.0)], pair("a", truth))
    worst = metric.measure([Decoded(~truth, 1.0)], pair("b", truth))
    missing = metric.measure([], pair("b", truth))
    assert score(metric, [good, missing])["iou_dataset"] <= score(metric, [good, worst])["iou_dataset"]
    counts = ("intersection", "predicted", "truth")
    assert [missing[name] for name in counts] == [worst[name] for name in counts], "that of two classes is the worst"


def test_illegal_truth_is_refused_by_name():
    with pytest.raises(ValueError, match=r"photo-7: target must be .* 0 \.\.\. 1 or 255"):
        SegmentationMetric().measure([], pair("photo-7", np.full((4, 4), 3, dtype=np.uint8)))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="num_classes must be 2"):
        SegmentationMetric(1)
    with pytest.raises(ValueError, match=r"num_classes must be 2 \.\.\. 255"):
        SegmentationMetric(256)
    assert SegmentationMetric(255).num_classes == 255
    for wrong in (0, 1):
        with pytest.raises(ValueError, match="boundary_tolerance"):
            SegmentationMetric(boundary_tolerance=wrong)


def test_a_contour_is_what_has_a_neighbour_outside():
    mask = np.zeros((7, 8), bool)
    mask[1:6, 2:8] = True  # it leaves the picture on the right
    mask[1, 2] = False
    expected = np.zeros((7, 8), int)
    expected[[1, 5], 2:] = expected[1:6, 2] = 1
    expected[1, 2], expected[2, 3] = 0, 0  # a corner between two others touches the outside by its tip only
    assert contour(mask).tolist() == expected.tolist()


def test_contours_match_within_a_share_of_the_diagonal():
    truth = np.zeros((60, 80), np.uint8)
    truth[20:40, 20:60] = 1
    moved = np.roll(truth, 7, axis=1)
    for tolerance, pixels in ((0.02, 2), (0.0601, 7)):  # of a diagonal of 100, rounded up
        row = SegmentationMetric(boundary_tolerance=tolerance).measure([Decoded(moved, 1.0)], pair("a", truth))
        assert row["boundary_f"] == pytest.approx(brute_boundary_f(moved == 1, truth == 1, pixels), abs=1e-12)
    truth[:, 50:] = 255
    row = SegmentationMetric().measure([Decoded(moved, 1.0)], pair("a", truth))
    cut = (moved == 1) & (truth != 255)
    assert row["boundary_f"] == pytest.approx(brute_boundary_f(cut, truth == 1, 2), abs=1e-12), (
        "what is ignored has no contour"
    )


def brute_boundary_f(predicted, truth, tolerance):
    ours, theirs = np.argwhere(contour(predicted)), np.argwhere(contour(truth))
    distance = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
    precision, recall = (distance.min(axis=1) <= tolerance).mean(), (distance.min(axis=0) <= tolerance).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("shift", range(7))
def test_boundary_f_against_distances(shift):
    rows, columns = np.mgrid[:60, :60]
    truth = (rows - 30) ** 2 + (columns - 30) ** 2 < 15**2
    predicted = np.roll(truth, shift, axis=1)
    assert boundary_f(predicted, truth, 3) == pytest.approx(brute_boundary_f(predicted, truth, 3), abs=1e-12)


def test_boundary_f_falls_with_distance():
    truth = np.zeros((80, 80), bool)
    truth[20:50, 20:50] = True
    values = [boundary_f(np.roll(truth, shift, axis=0), truth, 2) for shift in (0, 2, 4, 12)]
    assert values == sorted(values, reverse=True)
    assert values[0] == 1.0
    assert values[-1] < 0.4
    corners = np.zeros((2, 80, 80), bool)
    corners[0, :9, :9] = corners[1, -9:, -9:] = True
    assert boundary_f(corners[0], corners[1], 2) == 0, "no contour point is near another"
