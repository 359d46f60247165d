"""Polygons and run-length codes of COCO as masks; checked first, because pycocotools crashes or hangs on bad ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from vdmfewshot.data.coco import numbers

#: how far a polygon may reach beyond its picture, as a share of the side and in pixels; it is cut at the border
MARGIN, MARGIN_PIXELS = 0.1, 2.0


def check_segmentation(segmentation: Any, size: tuple[int, int]) -> list[Any] | dict[str, Any]:
    """Refuse a segmentation that cannot be drawn.

    Args:
        segmentation: list of polygons, one polygon, or a run-length code.
        size: (height, width) of its picture.

    Returns:
        List of polygons, or a run-length code.

    Raises:
        ValueError: with a reason that is the same for all segmentations that break the rule.
    """
    if segmentation in (None, [], {}):
        raise ValueError("no polygon or run-length code")
    if isinstance(segmentation, dict):
        _check_code(segmentation, size)
        return segmentation
    if not isinstance(segmentation, list):
        raise ValueError("its segmentation is neither a list of polygons nor a run-length code")
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    for polygon in polygons:
        check_polygon(polygon, size)
    return polygons


def check_polygon(polygon: Any, size: tuple[int, int]) -> None:
    """Refuse a polygon [x, y, x, y, …] that is too short, or of another scale than its picture.

    Raises:
        ValueError: with the reason.
    """
    try:
        flat = numbers(polygon)
    except ValueError as error:
        raise ValueError(f"its polygon {error}") from error
    if len(flat) % 2:
        raise ValueError("its polygon has an odd number of coordinates")
    if len(flat) < 6:
        raise ValueError("its polygon has fewer than three corners")
    corners = np.array(flat).reshape(-1, 2)
    if outside(corners, size):
        raise ValueError("its polygon lies outside the picture: of another size?")
    if normalised(corners, size):
        raise ValueError("its polygon lies within 0-1, as if divided by the picture's size: multiply it")


def outside(corners: NDArray[np.float64], size: tuple[int, int]) -> bool:
    """Whether (n, 2) points x, y lie further beyond the border of a (height, width) picture than slips explain."""
    sides = np.array([size[1], size[0]], dtype=np.float64)
    margin = MARGIN * sides + MARGIN_PIXELS
    return bool((corners < -margin).any() or (corners > sides + margin).any())


def normalised(corners: NDArray[np.float64], size: tuple[int, int]) -> bool:
    """Whether (n, 2) points lie within 0-1, and not all at whole pixels, in a picture that is larger than that."""
    return bool(min(size) > 4 and corners.min() >= 0 and corners.max() <= 1 and (corners % 1 != 0).any())


def _check_code(code: dict[str, Any], size: tuple[int, int]) -> None:
    if _side_lengths(code.get("size")) != [float(side) for side in size]:
        raise ValueError(f"its run-length code is of size {code.get('size')}, its picture of {list(size)}")
    counts = code.get("counts")
    runs = _unpack(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or any(isinstance(run, bool) or not isinstance(run, int) for run in runs):
        raise ValueError("its run-length code has no counts")
    if any(run < 0 for run in runs) or sum(runs) != size[0] * size[1]:
        raise ValueError("its run-length code does not add up to the picture's pixels")


def _side_lengths(values: Any) -> list[float]:
    """A size; empty if it is something else."""
    try:
        return numbers(values)
    except ValueError:
        return []


def _unpack(text: str) -> list[int] | None:
    """Runs of a packed code: 5 bits a character, the 6th says that more follow; from the third on as differences."""
    runs: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            if position >= len(text) or not 48 <= ord(text[position]) < 112 or shift > 40:
                return None
            bits = ord(text[position]) - 48
            value |= (bits & 31) << shift
            more, shift, position = bool(bits & 32), shift + 5, position + 1
            if not more and bits & 16:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs


def instances_mask(segmentations: Sequence[Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Union of polygons and run-length codes as a (h, w) bool mask.

    Raises:
        ValueError: if one of them cannot be drawn.
    """
    codes: list[Any] = []
    for segmentation in segmentations:
        shape = check_segmentation(segmentation, size)
        packed = isinstance(shape, dict) and isinstance(shape["counts"], str)
        code = shape if packed else coco_mask.frPyObjects(shape, *size)
        codes += code if isinstance(code, list) else [code]
    if not codes:
        return np.zeros(size, dtype=bool)
    return np.asarray(coco_mask.decode(coco_mask.merge(codes))).astype(bool)
