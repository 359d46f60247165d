"""Segmentation scores: IoU accumulated over the data set, mean of image IoUs, Dice and boundary F."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics.sums import SumMetric, divide

#: truth value of pixels that count neither for nor against a prediction (PASCAL VOC)
IGNORE = 255


class SegmentationMetric(SumMetric):
    """Binary (``num_classes=2``) or multi-class segmentation, at the original resolution.

    Scores, all in [0, 1] and, where several classes count, the mean over the classes present (in truth or prediction):

    - ``iou_dataset``: intersections and unions added over the data set, then divided: the number benchmarks quote
      (torchmetrics ``JaccardIndex``). Binary: of the foreground class; otherwise of all classes, background included.
    - ``iou_image``: mean of image IoUs (torchmetrics ``segmentation.MeanIoU``), for comparison.
    - ``iou_class_<k>``: ``iou_dataset`` of one class; NaN if it never occurs.
    - ``fb_iou`` (binary only): mean of foreground and background ``iou_dataset`` (HSNet).
    - ``dice``: as ``iou_dataset`` with 2 I / (P + T).
    - ``boundary_f``: F-measure of contours (Perazzi et al., CVPR 2016, section 4.2), mean over images.

    Conventions: an empty prediction of an empty truth is right (1 per image, nothing to add over the data set; if the
    whole data set is empty and predicted so, the scores are 1). A missing or malformed prediction is wrong at every
    pixel for every class, so that it can never score above any prediction. Of K attempts the first one is scored.

    Args:
        num_classes: K ≥ 2 label values 0 … K - 1; 255 in the truth is ignored.
        boundary_tolerance: largest distance of matching contour pixels, as a fraction of the image diagonal.

    Raises:
        ValueError: if an argument is out of range.
    """

    higher_is_better = True
    main = "iou_dataset"

    def __init__(self, num_classes: int = 2, boundary_tolerance: float = 0.02) -> None:
        if not 2 <= num_classes <= IGNORE:
            raise ValueError(f"num_classes must be 2 ... {IGNORE} (background included), got {num_classes}")
        if not 0 < boundary_tolerance < 1:
            raise ValueError(
                f"boundary_tolerance must be a fraction of the diagonal in (0, 1), got {boundary_tolerance}"
            )
        super().__init__(size=3 * num_classes + 3)
        self.num_classes = num_classes
        self.boundary_tolerance = boundary_tolerance
        self.scored_classes = [1] if num_classes == 2 else list(range(num_classes))

    def measure(self, attempts: Sequence[Decoded[Any]], pair: Pair) -> dict[str, Any]:
        """Class-wise pixel counts of the first attempt against ``pair.target`` ((h, w) bool or integers, 255 ignored).

        Raises:
            ValueError: if the truth is not a label map of the declared classes.
        """
        truth = _label_map(pair.target)
        if truth is None or not np.isin(truth, [*range(self.num_classes), IGNORE]).all():
            raise ValueError(
                f"{pair.key}: target must be (h, w) bool or integer labels 0 ... {self.num_classes - 1} or {IGNORE}"
            )
        predicted = _label_map(attempts[0].label) if attempts else None
        if predicted is None or predicted.shape != truth.shape:
            return self._failure(
                truth, "no prediction" if not attempts else "prediction is no label map of the image size"
            )
        valid = truth != IGNORE
        counts = class_counts(predicted[valid], truth[valid], self.num_classes)
        contours = [self._boundary_f(predicted, truth, k) for k in self._present(counts)]
        return {
            **{name: count.tolist() for name, count in counts.items()},
            "iou": self._image_iou(counts),
            "boundary_f": float(np.mean(contours)) if contours else 1.0,
            "failure": None,
        }

    def statistics(self, record: Mapping[str, Any]) -> NDArray[np.float64]:
        """[intersection (K), predicted (K), truth (K), image IoU, boundary F, 1]."""
        counts = [*record["intersection"], *record["predicted"], *record["truth"]]
        return np.array([*counts, record["iou"], record["boundary_f"], 1.0], dtype=np.float64)

    def scores(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Ratios of sums; NaN without samples."""
        k = self.num_classes
        intersection, predicted, truth = (sums[..., i * k : (i + 1) * k] for i in range(3))
        n = sums[..., -1]
        iou = divide(intersection, predicted + truth - intersection)
        dice = divide(2 * intersection, predicted + truth)
        scores = {
            "iou_dataset": self._mean_present(iou, n),
            "iou_image": divide(sums[..., -3], n),
            "dice": self._mean_present(dice, n),
            "boundary_f": divide(sums[..., -2], n),
        }
        if k == 2:
            scores["fb_iou"] = nan_mean(iou)
        return scores | {f"iou_class_{c}": iou[..., c] for c in range(k)}

    def sizes(self, rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Pixels of the unions."""
        k = self.num_classes
        intersection, predicted, truth = (rows[:, i * k : (i + 1) * k] for i in range(3))
        union = predicted + truth - intersection
        scored = union[:, self.scored_classes].sum(axis=1)
        return dict.fromkeys(("iou_dataset", "dice", "fb_iou"), scored) | {
            f"iou_class_{c}": union[:, c] for c in range(k)
        }

    def _mean_present(self, values: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
        mean = nan_mean(values[..., self.scored_classes])
        return np.where(n > 0, np.where(np.isnan(mean), 1.0, mean), np.nan)

    def _present(self, counts: Mapping[str, NDArray[np.int64]]) -> list[int]:
        return [k for k in self.scored_classes if counts["predicted"][k] + counts["truth"][k] > 0]

    def _image_iou(self, counts: Mapping[str, NDArray[np.int64]]) -> float:
        union = counts["predicted"] + counts["truth"] - counts["intersection"]
        ious = [counts["intersection"][k] / union[k] for k in self._present(counts)]
        return float(np.mean(ious)) if ious else 1.0

    def _boundary_f(self, predicted: NDArray[np.uint8], truth: NDArray[np.uint8], k: int) -> float:
        valid = truth != IGNORE
        tolerance = math.ceil(self.boundary_tolerance * math.hypot(*truth.shape))
        return boundary_f((predicted == k) & valid, truth == k, tolerance)

    def _failure(self, truth: NDArray[np.uint8], reason: str) -> dict[str, Any]:
        counts = np.bincount(truth[truth != IGNORE], minlength=self.num_classes)
        return {
            "intersection": [0] * self.num_classes,
            "predicted": (counts.sum() - counts).tolist(),
            "truth": counts.tolist(),
            "iou": 0.0,
            "boundary_f": 0.0,
            "failure": reason,
        }


def class_counts(
    predicted: NDArray[np.uint8], truth: NDArray[np.uint8], num_classes: int
) -> dict[str, NDArray[np.int64]]:
    """Pixels per class in both, in the prediction and in the truth; predicted labels ≥ K belong to no class.

    Args:
        predicted: (N,) labels.
        truth: (N,) labels 0 … K - 1.
        num_classes: K.

    Returns:
        ``intersection``, ``predicted`` and ``truth``, each (K,).
    """
    return {
        "intersection": np.bincount(truth[predicted == truth], minlength=num_classes),
        "predicted": np.bincount(predicted, minlength=num_classes)[:num_classes],
        "truth": np.bincount(truth, minlength=num_classes),
    }


def boundary_f(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], tolerance: int) -> float:
    """F-measure of contour pixels that have a counterpart within ``tolerance`` pixels.

    The contour is a mask minus its erosion; where the mask leaves the image there is none. Without any contour (both
    masks empty or full) the score is 1 for equal masks and 0 otherwise.

    Args:
        predicted: (h, w) mask.
        truth: (h, w) mask.
        tolerance: radius in pixels of the disc that matches contours, ≥ 1.
    """
    ours, theirs = contour(predicted), contour(truth)
    if not ours.any() or not theirs.any():
        return float(np.array_equal(predicted, truth))
    y, x = np.ogrid[-tolerance : tolerance + 1, -tolerance : tolerance + 1]
    disc = (x * x + y * y <= tolerance * tolerance).astype(np.uint8)  # cv2's own ellipse is up to a pixel wider
    precision = float(cv2.dilate(theirs, disc)[ours > 0].mean())
    recall = float(cv2.dilate(ours, disc)[theirs > 0].mean())
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def contour(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(h, w) mask → its inner contour, one pixel wide (4-connected erosion), as 0/1."""
    binary = mask.astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner: NDArray[np.uint8] = binary - cv2.erode(binary, cross)
    return inner


def nan_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis without NaN; NaN where nothing is left."""
    present = np.isfinite(values)
    return divide(np.where(present, values, 0.0).sum(axis=-1), present.sum(axis=-1).astype(np.float64))


def _label_map(label: Any) -> NDArray[np.uint8] | None:
    """A (h, w) array of booleans or of integers 0 … 255 as uint8; ``None`` for anything else."""
    if not isinstance(label, np.ndarray) or label.ndim != 2 or label.dtype.kind not in "bui":
        return None
    if label.size == 0 or label.min() < 0 or label.max() > IGNORE:
        return None
    return label.astype(np.uint8)
