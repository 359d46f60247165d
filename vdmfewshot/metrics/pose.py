"""Pose scores: PCK, OKS and COCO average precision of one person per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics.arc import task_number
from vdmfewshot.metrics.base import Interval
from vdmfewshot.metrics.keypoint_ap import COCO_SIGMAS, Instance, keypoint_ap, keypoint_ap_intervals
from vdmfewshot.metrics.sums import SumMetric, divide

#: fractions of the person's longest side within which a joint is correct
PCK_FRACTIONS = (0.05, 0.1, 0.2)


class PoseMetric(SumMetric):
    """Keypoints of one person at a time (top-down crops with ground-truth boxes), in source pixels.

    - ``pck@t``: correct joints / labelled joints over the data set. A joint is correct within t times the longest side
      of the person: of ``pair.meta["bbox"]`` (x, y, width, height) if given, else of the box of the labelled joints.
    - ``oks``: mean object keypoint similarity (cocodataset.org/#keypoints-eval) over persons. The scale is
      ``pair.meta["area"]`` (segment area) if given, else the area of the box above.
    - ``ap``, ``ap50``, ``ap75``, ``ar``: COCO, all areas, through pycocotools; the confidence ranks the persons. Those
      with the same ``pair.meta["image"]`` are of one picture, in which ``pair.meta["offset"]`` places the crop (x, y):
      what is found of one of them may be matched with another, as COCO does. Without it everybody is alone.

    Joints with visibility 0 in the truth do not count; persons without a labelled joint are ignored. A joint not found
    (third column 0, or NaN) is wrong. Of K attempts the first one is scored. One without any joint or of confidence 0
    is a person not detected, as COCO counts it; a *missing* or malformed one is a wrong detection that ranks before all
    others, so that losing a prediction can never raise AP.

    Args:
        num_joints: J.
        sigmas: J per-joint constants of OKS; COCO's by default for 17 joints.

    Raises:
        ValueError: if the number of sigmas is not J.
    """

    higher_is_better = True
    main = "pck@0.1"
    #: per person [truth 3 J, prediction 2 J, area, score, image], flattened, because AP is no function of sums
    rows: list[Tensor]

    def __init__(self, num_joints: int = 17, sigmas: Sequence[float] = COCO_SIGMAS) -> None:
        if len(sigmas) != num_joints or num_joints < 1:
            raise ValueError(f"sigmas must have one value per joint, got {len(sigmas)} for num_joints = {num_joints}")
        super().__init__(size=len(PCK_FRACTIONS) + 3)
        self.num_joints = num_joints
        self.sigmas = tuple(float(sigma) for sigma in sigmas)
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def measure(self, attempts: Sequence[Decoded[Any]], pair: Pair) -> dict[str, Any]:
        """Distances and OKS of the first attempt; labels are (J, 3): x, y in pixels and visibility or joint score.

        Raises:
            ValueError: if ``pair.target`` is not (J, 3) with finite labelled joints.
        """
        truth = self._truth(pair)
        width, height = _extent(truth, pair.meta)
        area, side = float(pair.meta.get("area") or width * height), max(width, height)
        joints = _joints(attempts[0].label, self.num_joints) if attempts else None
        confidence = 0.0 if joints is None else min(1.0, float(attempts[0].confidence))
        points = _found(joints, self.num_joints, confidence)
        distances = np.linalg.norm(points - truth[:, :2], axis=1)[truth[:, 2] > 0] / side
        distances = np.nan_to_num(distances, nan=np.inf)
        return {
            "keypoints_true": truth.ravel().tolist(),
            "keypoints": _nullable(points.ravel()),
            "distances": _nullable(distances),
            "correct": [int((distances <= fraction).sum()) for fraction in PCK_FRACTIONS],
            "labelled": len(distances),
            "oks": oks(distances * side, area, np.array(self.sigmas)[truth[:, 2] > 0]) if len(distances) else 0.0,
            "side": side,
            "area": area,
            "image": None if pair.meta.get("image") is None else task_number(str(pair.meta["image"])),
            "offset": [float(value) for value in pair.meta.get("offset", (0.0, 0.0))],
            "score": confidence if np.isfinite(points).any() else None,
            "missing": joints is None,
            "failure": "no prediction" if joints is None else None if np.isfinite(points).any() else "no joint found",
        }

    def statistics(self, record: Mapping[str, Any]) -> NDArray[np.float64]:
        """[joints correct at each fraction, joints labelled, OKS, 1 if any joint is labelled]."""
        counts = float(record["labelled"] > 0)
        return np.array([*record["correct"], record["labelled"], counts * record["oks"], counts], dtype=np.float64)

    def scores(self, sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """PCK over joints, OKS over persons."""
        pck = {f"pck@{fraction}": divide(sums[..., i], sums[..., -3]) for i, fraction in enumerate(PCK_FRACTIONS)}
        return pck | {"oks": divide(sums[..., -2], sums[..., -1])}

    def sizes(self, rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Labelled joints; persons with any."""
        return dict.fromkeys((f"pck@{fraction}" for fraction in PCK_FRACTIONS), rows[:, -3]) | {"oks": rows[:, -1]}

    def update(self, record: Mapping[str, Any]) -> None:
        """Add one person's record to the sums and to the rows of AP."""
        super().update(record)
        self.rows.append(torch.from_numpy(self._row(record)).to(self.sums.device))

    def compute(self) -> dict[str, Tensor]:
        """PCK, OKS and COCO AP."""
        rows = dim_zero_cat(self.rows).cpu().numpy() if len(self.rows) else np.zeros(0)
        ap = keypoint_ap(self._instances(rows), self.sigmas)
        return super().compute() | {name: torch.tensor(value, dtype=torch.float64) for name, value in ap.items()}

    def intervals(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Interval]:
        """Bayesian bootstrap over persons; for AP an ordinary one."""
        rows = np.concatenate([self._row(record) for record in records]) if records else np.zeros(0)
        return super().intervals(records) | keypoint_ap_intervals(self._instances(rows), self.sigmas)

    def _truth(self, pair: Pair) -> NDArray[np.float64]:
        truth = _joints(pair.target, self.num_joints)
        if truth is None or not np.isfinite(truth[truth[:, 2] > 0]).all():
            raise ValueError(f"{pair.key}: target must be ({self.num_joints}, 3) x, y, visibility with finite joints")
        return np.where(truth[:, 2:] > 0, truth, 0.0)

    def _row(self, record: Mapping[str, Any]) -> NDArray[np.float64]:
        score = np.inf if record["missing"] else record["score"]
        offset = np.array(record.get("offset", (0.0, 0.0)))
        truth = np.array(record["keypoints_true"], dtype=np.float64).reshape(-1, 3) + np.append(offset, 0.0)
        found = np.array(record["keypoints"], dtype=np.float64).reshape(-1, 2) + offset
        return np.array([*truth.ravel(), *found.ravel(), record["area"], score, record.get("image")], dtype=np.float64)

    def _instances(self, flat: NDArray[np.float64]) -> list[Instance]:
        """Flat rows → persons to be found, in an order that does not depend on ranks: AP breaks ties by order."""
        j = self.num_joints
        rows = flat.reshape(-1, 5 * j + 3)
        rows = rows[(rows[:, 2 : 3 * j : 3] > 0).any(axis=1)]
        rows = rows[np.lexsort(np.nan_to_num(rows, nan=-1.0).T)]
        return [Instance(row[: 3 * j].reshape(j, 3), row[3 * j : 5 * j].reshape(j, 2), *row[-3:]) for row in rows]


def oks(distances: NDArray[np.float64], area: float, sigmas: NDArray[np.float64]) -> float:
    """Object keypoint similarity: mean over labelled joints of exp(-d² / (2 area (2 σ)²)).

    Args:
        distances: (L,) pixels, infinite for a joint not found.
        area: of the person, square pixels.
        sigmas: (L,) per-joint constants.
    """
    return float(np.exp(-(distances**2) / (2 * area * (2 * sigmas) ** 2)).mean())


def _found(joints: NDArray[np.float64] | None, num_joints: int, confidence: float) -> NDArray[np.float64]:
    """(J, 2) points of an attempt, NaN where a joint was not found."""
    if joints is None or not confidence > 0:
        return np.full((num_joints, 2), np.nan)
    found = np.isfinite(joints).all(axis=1) & (joints[:, 2] > 0)
    return np.where(found[:, None], joints[:, :2], np.nan)


def _extent(truth: NDArray[np.float64], meta: Mapping[str, Any]) -> tuple[float, float]:
    """(width, height) of the person's box in pixels, at least 1 each."""
    if meta.get("bbox") is not None:
        width, height = (float(side) for side in list(meta["bbox"])[2:4])
    else:
        labelled = truth[truth[:, 2] > 0, :2]
        width, height = np.ptp(labelled, axis=0) if len(labelled) else (1.0, 1.0)
    return max(1.0, float(width)), max(1.0, float(height))


def _joints(label: Any, num_joints: int) -> NDArray[np.float64] | None:
    """A (J, 3) array of numbers as float64; ``None`` for anything else."""
    try:
        joints = np.asarray(label, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return joints if joints.shape == (num_joints, 3) else None


def _nullable(values: NDArray[np.float64]) -> list[float | None]:
    """Floats with ``None`` for NaN and infinity, which JSON does not have."""
    return [float(value) if np.isfinite(value) else None for value in values]
