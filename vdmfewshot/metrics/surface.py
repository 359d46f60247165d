"""Depth and surface normals: AbsRel and δ1, angles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.metrics.sums import SumMetric, divide

Floats = NDArray[np.float64]

#: ratio of depths within which a pixel counts for δ1
DELTA = 1.25
#: least depth in metres after alignment
LEAST = 1e-3
#: limits in degrees within which a normal counts
ANGLES = (11.25, 22.5, 30.0)


class DepthMetric(SumMetric):
    """Depth maps in metres, each score the mean over pictures; pixels at or beyond ``far`` do not count.

    - ``delta1``: share of pixels whose depth is within a factor of 1.25 of the truth, after alignment: least squares
      over the picture's pixels of a scale and a shift (the affine-invariant protocol of MiDaS and Marigold).
    - ``abs_rel``: mean of |predicted - true| / true, after the same alignment; *lower* is better.
    - ``delta1_metric``, ``abs_rel_metric``: the same without alignment, in the codec's metres.

    A missing or malformed prediction has δ1 0 and AbsRel 1. Of K attempts the first counts.

    Args:
        far: distance in metres from which on pixels do not count.
    """

    higher_is_better = True
    main = "delta1"
    names = ("delta1", "abs_rel", "delta1_metric", "abs_rel_metric")

    def __init__(self, far: float) -> None:
        super().__init__(size=5)
        self.far = far

    def measure(self, attempts: Sequence[Decoded[Any]], pair: Pair) -> dict[str, Any]:
        """Compare the first attempt with ``pair.target``, (h, w) metres.

        Raises:
            ValueError: if the truth is no (h, w) map of positive metres with a pixel nearer than ``far``.
        """
        truth = np.asarray(pair.target, dtype=np.float64)
        valid = (truth > 0) & (truth < self.far)
        if truth.ndim != 2 or not valid.any():
            raise ValueError(f"{pair.key}: target must be (h, w) metres with pixels nearer than {self.far}")
        drawn = _finite(attempts[0].label if attempts else None, truth.shape)
        if drawn is None:
            return {**dict(zip(self.names, (0.0, 1.0, 0.0, 1.0), strict=True)), "failure": "no depth map"}
        seen, known = drawn[valid], truth[valid]
        values = [*errors(aligned(seen, known), known), *errors(np.maximum(seen, LEAST), known)]
        return {**dict(zip(self.names, values, strict=True)), "failure": None}

    def statistics(self, record: Mapping[str, Any]) -> Floats:
        """[δ1, AbsRel, both without alignment, 1]."""
        return np.array([*(record[name] for name in self.names), 1.0], dtype=np.float64)

    def scores(self, sums: Floats) -> dict[str, Floats]:
        """Means over pictures."""
        return {name: divide(sums[..., i], sums[..., -1]) for i, name in enumerate(self.names)}


def aligned(seen: Floats, known: Floats) -> Floats:
    """Depths scaled and shifted to the truth by least squares; a constant map becomes the truth's mean."""
    design = np.column_stack([seen, np.ones_like(seen)])
    scale, shift = np.linalg.lstsq(design, known, rcond=1e-6)[0]
    return np.asarray(np.maximum(scale * seen + shift, LEAST))


def errors(seen: Floats, known: Floats) -> tuple[float, float]:
    """(δ1, AbsRel) of positive depths."""
    ratio = np.maximum(seen / known, known / seen)
    return float((ratio < DELTA).mean()), float((np.abs(seen - known) / known).mean())


class NormalMetric(SumMetric):
    """Unit normals, each score the mean over pictures.

    - ``within_11_deg``, ``within_22_deg``, ``within_30_deg``: share of pixels within 11.25, 22.5 and 30 degrees.
    - ``angle_deg``: mean angle in degrees; *lower* is better.

    A missing or malformed prediction is 180 degrees off. Of K attempts the first counts.
    """

    higher_is_better = True
    main = "within_22_deg"
    names = ("within_11_deg", "within_22_deg", "within_30_deg", "angle_deg")

    def __init__(self) -> None:
        super().__init__(size=5)

    def measure(self, attempts: Sequence[Decoded[Any]], pair: Pair) -> dict[str, Any]:
        """Compare the first attempt with ``pair.target``, (h, w, 3).

        Raises:
            ValueError: if the truth is no (h, w, 3) array.
        """
        truth = np.asarray(pair.target, dtype=np.float64)
        if truth.ndim != 3 or truth.shape[2] != 3:
            raise ValueError(f"{pair.key}: target must be (h, w, 3) normals, got {truth.shape}")
        drawn = _finite(attempts[0].label if attempts else None, truth.shape)
        if drawn is None:
            return {**dict(zip(self.names, (0.0, 0.0, 0.0, 180.0), strict=True)), "failure": "no normals"}
        lengths = np.linalg.norm(drawn, axis=2) * np.linalg.norm(truth, axis=2)
        angle = np.degrees(np.arccos(np.clip((drawn * truth).sum(axis=2) / np.maximum(lengths, 1e-9), -1, 1)))
        values = [*(float((angle < limit).mean()) for limit in ANGLES), float(angle.mean())]
        return {**dict(zip(self.names, values, strict=True)), "failure": None}

    def statistics(self, record: Mapping[str, Any]) -> Floats:
        """[within each limit, angle, 1]."""
        return np.array([*(record[name] for name in self.names), 1.0], dtype=np.float64)

    def scores(self, sums: Floats) -> dict[str, Floats]:
        """Means over pictures."""
        return {name: divide(sums[..., i], sums[..., -1]) for i, name in enumerate(self.names)}


def _finite(label: Any, shape: tuple[int, ...]) -> Floats | None:
    """A finite array of the truth's shape; ``None`` for anything else."""
    if not isinstance(label, np.ndarray) or label.shape != shape or label.dtype.kind not in "uif":
        return None
    return label.astype(np.float64) if np.isfinite(label).all() else None
