"""Labels and their errors as pictures for people: pure functions from labels to (H, W, 3) uint8."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vdmfewshot.codecs.palette import ARC_16_PALETTE, Color, max_min_palette
from vdmfewshot.metrics import ArcMetric, ImageMetric, PoseMetric, RouteMetric, SegmentationMetric, TaskMetric
from vdmfewshot.metrics.segmentation import IGNORE, contour

Picture = NDArray[np.uint8]

#: colours that people with any kind of colour vision tell apart (Okabe and Ito, 2008)
BLUE, ORANGE = (86, 180, 233), (230, 159, 0)
GREY, WHITE = (128, 128, 128), (255, 255, 255)
#: one colour per class of a label map: background, then Okabe and Ito's eight
CLASS_COLORS = (
    (0, 0, 0),
    WHITE,
    ORANGE,
    BLUE,
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
#: colours for more classes than these
MORE_COLORS = 24
#: limbs between COCO's 17 joints, 0-based
COCO_LIMBS = (
    *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
    *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
)
#: drawings finer than a pixel of the label are made at this size, in pixels of the longer side
DETAIL = 256


@dataclass(frozen=True)
class Artist:
    """How labels of a task are shown.

    Attributes:
        draw: (label, input image) → picture.
        compare: (prediction, truth, input image) → picture of what is wrong.
        legend: how to read that picture, in a few words.
    """

    draw: Callable[[Any, Picture], Picture]
    compare: Callable[[Any, Any, Picture], Picture]
    legend: str


def artist_for(metric: TaskMetric) -> Artist | None:
    """The artist for the labels that a metric compares; ``None`` for a metric that is not of this package."""
    artists: tuple[tuple[type[TaskMetric], Artist], ...] = (
        (
            SegmentationMetric,
            Artist(lambda label, _: draw_label_map(label), compare_label_maps, "blue extra, orange missed"),
        ),
        (PoseMetric, Artist(draw_keypoints, compare_keypoints, "orange shift, blue missed")),
        *(
            (kind, Artist(lambda x, _: draw_grid(x), lambda x, y, _: compare_grids(x, y), "orange wrong, blue size"))
            for kind in (ArcMetric, RouteMetric)
        ),
        (
            ImageMetric,
            Artist(lambda x, _: draw_image(x), lambda x, truth, _: compare_images(x, truth), "bright is far"),
        ),
    )
    return next((artist for kind, artist in artists if isinstance(metric, kind)), None)


def draw_image(image: NDArray[Any]) -> Picture:
    """(h, w, 3) in [0, 255] of any type, rounded."""
    picture: Picture = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return picture


def compare_images(image: NDArray[Any], truth: NDArray[Any]) -> Picture:
    """Mean absolute difference of the channels: black is equal, bright is far."""
    difference = np.abs(draw_image(image).astype(np.float32) - draw_image(truth)).mean(axis=2)
    heat: Picture = cv2.applyColorMap(draw_image(difference), cv2.COLORMAP_INFERNO)[..., ::-1]
    return np.ascontiguousarray(heat)


def class_palette(count: int) -> tuple[Color, ...]:
    """Colours of ``count`` classes: Okabe and Ito's, then others far from them; beyond 33 classes they repeat."""
    if count <= len(CLASS_COLORS):
        return CLASS_COLORS[:count]
    colors = CLASS_COLORS[1:] + max_min_palette(MORE_COLORS, anchors=(*CLASS_COLORS, GREY))
    return (CLASS_COLORS[0], *itertools.islice(itertools.cycle(colors), count - 1))


def draw_label_map(labels: NDArray[Any]) -> Picture:
    """(h, w) booleans or class indices as flat colours; a mask is white on black, ignored pixels are grey."""
    indices = np.asarray(labels).astype(np.int64)
    picture = np.array(class_palette(int(indices[indices != IGNORE].max(initial=0)) + 1), dtype=np.uint8)[
        np.where(indices == IGNORE, 0, indices)
    ]
    picture[indices == IGNORE] = GREY
    return picture


def compare_label_maps(labels: NDArray[Any], truth: NDArray[Any], image: Picture) -> Picture:
    """Input with wrong pixels at 50 % alpha and the truth's outline in white.

    Blue: something is predicted where there is nothing or something else; orange: something was missed.
    """
    predicted, true = (np.asarray(x).astype(np.int64) for x in (labels, truth))
    wrong = (predicted != true) & (true != IGNORE)
    picture = image.copy()
    for color, where in ((BLUE, wrong & (predicted > 0)), (ORANGE, wrong & (predicted == 0))):
        picture[where] = (picture[where].astype(np.float32) * 0.5 + np.array(color) * 0.5).astype(np.uint8)
    for k in np.unique(true[(true > 0) & (true != IGNORE)]):
        picture[contour(true == k) > 0] = WHITE
    return picture


def class_colors(metric: TaskMetric, names: Sequence[str] = ()) -> list[tuple[str, tuple[int, int, int]]]:
    """(name or number, colour) of each class of label maps; none for masks and other labels, which need no legend."""
    if not isinstance(metric, SegmentationMetric) or metric.num_classes == 2:
        return []
    known = [f"{k} {names[k]}" if k < len(names) else f"class {k}" for k in range(metric.num_classes)]
    return list(zip(known, class_palette(metric.num_classes), strict=True))


def draw_keypoints(points: NDArray[Any], image: Picture) -> Picture:
    """(J, 3) x, y, v on the dimmed input: a dot per joint with v > 0, limbs for COCO's 17; left orange, right blue."""
    picture, scale = _dimmed(image)
    _skeleton(picture, np.asarray(points, dtype=np.float64), scale, None)
    return picture


def compare_keypoints(points: NDArray[Any], truth: NDArray[Any], image: Picture) -> Picture:
    """Truth in white; lines in orange to where the joints were found; a ring in blue where one was not."""
    picture, scale = _dimmed(image)
    found, true = (np.asarray(x, dtype=np.float64) for x in (points, truth))
    _skeleton(picture, true, scale, WHITE)
    for (x, y, v), (tx, ty, labelled) in zip(found, true, strict=True):
        if labelled > 0 and v > 0:
            cv2.line(picture, _pixel(tx, ty, scale), _pixel(x, y, scale), ORANGE, 2, cv2.LINE_AA)
            cv2.circle(picture, _pixel(x, y, scale), 3, ORANGE, -1, cv2.LINE_AA)
        elif labelled > 0:
            cv2.circle(picture, _pixel(tx, ty, scale), 7, BLUE, 2, cv2.LINE_AA)
    return picture


def draw_grid(grid: Any) -> Picture:
    """(h, w) values 0-9 in the standard ARC colours, cells parted by thin grey lines."""
    return _cells(np.array(ARC_16_PALETTE, dtype=np.uint8)[np.asarray(grid, dtype=np.int64) % len(ARC_16_PALETTE)])


def compare_grids(grid: Any, truth: Any) -> Picture:
    """Wrong cells in orange, right ones in dark grey; cells outside either grid, where the size is wrong, in blue."""
    predicted, true = np.asarray(grid, dtype=np.int64), np.asarray(truth, dtype=np.int64)
    height, width = np.maximum(predicted.shape, true.shape)
    cells = np.full((height, width, 3), BLUE, dtype=np.uint8)
    h, w = np.minimum(predicted.shape, true.shape)
    wrong = predicted[:h, :w] != true[:h, :w]
    cells[:h, :w] = np.where(wrong[..., None], ORANGE, 40)
    return _cells(cells)


def _cells(colors: Picture) -> Picture:
    """(h, w, 3) colours → the same as squares with grey lines between them."""
    side = max(3, DETAIL // max(colors.shape[:2]))
    picture = np.ascontiguousarray(colors.repeat(side, axis=0).repeat(side, axis=1))
    picture[::side], picture[:, ::side] = GREY, GREY
    return picture


def _dimmed(image: Picture) -> tuple[Picture, float]:
    """The image at half brightness and large enough to draw on, with its scale."""
    height, width = image.shape[:2]
    scale = max(1.0, DETAIL / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image // 2, size, interpolation=cv2.INTER_NEAREST), scale


def _skeleton(picture: Picture, points: NDArray[np.float64], scale: float, color: tuple[int, int, int] | None) -> None:
    shown = (points[:, 2] > 0) & np.isfinite(points).all(axis=1)
    for a, b in COCO_LIMBS if len(points) == 17 else ():
        if shown[a] and shown[b]:
            start, end = (_pixel(points[j, 0], points[j, 1], scale) for j in (a, b))
            cv2.line(picture, start, end, color or _side_color(b), 2, cv2.LINE_AA)
    for j in np.flatnonzero(shown).tolist():
        cv2.circle(picture, _pixel(points[j, 0], points[j, 1], scale), 3, color or _side_color(j), -1, cv2.LINE_AA)


def _side_color(joint: int) -> tuple[int, int, int]:
    """COCO counts left joints odd, right joints even, from 1 on; 0 is the nose."""
    return WHITE if joint == 0 else ORANGE if joint % 2 else BLUE


def _pixel(x: float, y: float, scale: float) -> tuple[int, int]:
    limit = 10_000  # cv2 takes 32-bit integers; what is out of the picture may stay out
    return int(np.clip(x * scale, -limit, limit)), int(np.clip(y * scale, -limit, limit))
