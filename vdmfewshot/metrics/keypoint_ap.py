"""COCO keypoint average precision of top-down crops, through pycocotools."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vdmfewshot.metrics.base import Interval
from vdmfewshot.metrics.intervals import FEWEST, UNKNOWN, widened

#: COCO's per-joint constants k / 2 in its order of 17 joints (cocodataset.org/#keypoints-eval)
COCO_SIGMAS: tuple[float, ...] = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
    *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)
#: where a joint that was not found is put: far from every truth, so that its similarity is 0
NOWHERE = -1e7
#: resamplings of the AP interval: each is a full accumulation in pycocotools
AP_RESAMPLES = 300


@dataclass(frozen=True)
class Instance:
    """One person: truth and prediction in COCO's terms.

    Attributes:
        truth: (J, 3) x, y in pixels and visibility (0: not labelled).
        predicted: (J, 2) x, y in pixels, NaN for a joint that was not found.
        area: of the person in square pixels, the scale of OKS.
        score: of the prediction, which ranks it among the others; NaN for a person not detected.
        image: number of the picture that shows the person; NaN if it is alone in its picture.
    """

    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]
    area: float
    score: float
    image: float = math.nan


def keypoint_ap(instances: list[Instance], sigmas: tuple[float, ...]) -> dict[str, float]:
    """AP, AP50, AP75 and AR over OKS thresholds 0.50 … 0.95, all areas.

    COCO splits its keypoint results by area into medium and large only, but ``AP`` itself has no lower bound: small
    crops count. Every person must have a labelled joint; returns NaN when there is nobody.
    """
    return _summary(_evaluate(instances, sigmas)) if instances else _summary(None)


def keypoint_ap_intervals(
    instances: list[Instance], sigmas: tuple[float, ...], *, resamples: int = AP_RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Bootstrap over pictures, with half an imaginary one at the end of the range (see ``widened``).

    Matching is done once, only the accumulation is repeated; it takes whole pictures, so that these are drawn with
    replacement. Returns (NaN, NaN) for fewer than two of them.
    """
    if len(set(pictures_of(instances))) < FEWEST:
        return dict.fromkeys(_summary(None), UNKNOWN)
    evaluation = _evaluate(instances, sigmas)
    matched, scores = list(evaluation.evalImgs), _summary(evaluation)
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(resamples):
        evaluation.evalImgs = [matched[i] for i in rng.integers(len(matched), size=len(matched))]
        with _silence():
            evaluation.accumulate()
        for name, value in _summary(evaluation).items():
            drawn.setdefault(name, []).append(value)
    return {name: widened(np.array(values), len(matched), scores[name], rng) for name, values in drawn.items()}


def _evaluate(instances: list[Instance], sigmas: tuple[float, ...]) -> Any:
    """A ``COCOeval`` that has matched and accumulated."""
    pictures = pictures_of(instances)
    numbered = list(enumerate(zip(pictures, instances, strict=True), start=1))
    truth = [_truth_annotation(i, picture, person) for i, (picture, person) in numbered]
    found = [_found_annotation(i, picture, p) for i, (picture, p) in numbered if not math.isnan(p.score)]
    with _silence():
        evaluation = COCOeval(_coco(max(pictures), truth), _coco(max(pictures), found), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(sigmas)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def pictures_of(instances: list[Instance]) -> list[int]:
    """1, 2, …: the picture of each person."""
    numbers: dict[float | str, int] = {}
    names = [f"alone {i}" if math.isnan(person.image) else person.image for i, person in enumerate(instances)]
    return [numbers.setdefault(name, len(numbers) + 1) for name in names]


def _coco(num_images: int, annotations: list[dict[str, Any]]) -> Any:
    coco = COCO()
    images = [{"id": i} for i in range(1, num_images + 1)]
    coco.dataset = {"images": images, "categories": [{"id": 1, "name": "person"}], "annotations": annotations}
    coco.createIndex()
    return coco


def _truth_annotation(identity: int, picture: int, person: Instance) -> dict[str, Any]:
    labelled = person.truth[:, 2:] > 0
    return {
        "id": identity,
        "image_id": picture,
        "category_id": 1,
        "iscrowd": 0,
        "area": person.area,
        "bbox": [0.0, 0.0, 0.0, 0.0],  # pycocotools reads it always, and uses it for persons without a joint only
        "keypoints": np.where(labelled, person.truth, 0.0).ravel().tolist(),
        "num_keypoints": int(labelled.sum()),
    }


def _found_annotation(identity: int, picture: int, person: Instance) -> dict[str, Any]:
    points = np.nan_to_num(person.predicted, nan=NOWHERE)
    return {
        "id": identity,
        "image_id": picture,
        "category_id": 1,
        "iscrowd": 0,
        "score": person.score,
        # The truth's area: with a joint at NOWHERE the prediction's own extent would leave every range of areas.
        "area": person.area,
        "keypoints": np.pad(points, ((0, 0), (0, 1)), constant_values=1.0).ravel().tolist(),
    }


def _summary(evaluation: Any | None) -> dict[str, float]:
    """COCO's means over thresholds and recalls; pycocotools marks "nobody to find" with -1."""
    if evaluation is None:
        return dict.fromkeys(("ap", "ap50", "ap75", "ar"), math.nan)
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    parts = {"ap": precision, "ap50": precision[0], "ap75": precision[5], "ar": recall}
    return {name: float(part[part > -1].mean()) if (part > -1).any() else math.nan for name, part in parts.items()}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    # pycocotools reports its progress with print()
    with contextlib.redirect_stdout(io.StringIO()):
        yield
