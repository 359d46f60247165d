"""Label maps of up to 8 classes: one well-separated colour per class, background black."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.geometry import Letterbox, resize
from vdmfewshot.codecs.base import Codec, Decoded
from vdmfewshot.codecs.frame import on_canvas
from vdmfewshot.codecs.palette import Color, estimate_shift, max_min_palette, nearest, shifted, squared_distances

#: label of pixels that no metric counts (PASCAL VOC)
IGNORE = 255
#: components smaller than this share of the picture are speckle
SPECKLE = 0.0005


class LabelMapCodec(Codec[NDArray[np.uint8]]):
    """Label = (h, w) uint8 class indices, 0 = background, 255 = ignore (drawn as background).

    Args:
        num_classes: 2 to 8 classes, background included; more need several clips, since colours get too close: see
            ``vdmfewshot.data.passes``.
        smooth: clean the decoded map with a 3 x 3 majority filter and drop components below 0.05 % of the area. It
            erases one-pixel structures, so scores with and without are different protocols.
    """

    def __init__(self, num_classes: int, smooth: bool = False) -> None:
        if not 2 <= num_classes <= 8:
            raise ValueError(f"num_classes must be 2 to 8 with background, got {num_classes}; split more over clips")
        self.num_classes = num_classes
        self.smooth = smooth

    @property
    def palette(self) -> tuple[Color, ...]:
        """Colour of each class: black for the background, max-min colours for the rest."""
        return ((0, 0, 0), *max_min_palette(self.num_classes - 1))

    def encode(self, label: NDArray[np.uint8], box: Letterbox) -> NDArray[np.uint8]:
        """Colour the map; nearest-neighbour resampling, because mixed colours could mean a third class.

        Raises:
            ValueError: if the label is not (h, w) uint8 of the source size with classes below ``num_classes`` or 255.
        """
        if label.dtype != np.uint8 or label.ndim != 2:
            raise ValueError(f"a label map must be a (h, w) uint8 array, got {label.shape} {label.dtype}")
        classes = np.where(label == IGNORE, np.uint8(0), label)
        if classes.size and classes.max() >= self.num_classes:
            raise ValueError(f"classes must be below {self.num_classes} or {IGNORE} (ignore), got {classes.max()}")
        return np.array(self.palette, dtype=np.uint8)[box.place(classes, nearest=True)]

    def decode(
        self, frame: NDArray[np.floating[Any]] | NDArray[np.uint8], box: Letterbox
    ) -> Decoded[NDArray[np.uint8]]:
        """Nearest colour after a global additive shift; class votes, not colours, are resampled to the source.

        Returns:
            (h, w) uint8 classes; confidence is the mean margin between best and second colour (1 on clean frames),
            details hold it with the shift and, with ``smooth``, the share of pixels that smoothing changed.
        """
        picture = np.ascontiguousarray(on_canvas(frame, box)[box.window])
        colors, shift = self._calibrated(picture)
        votes = np.eye(self.num_classes, dtype=np.float32)[nearest(picture, colors)]
        resized = np.stack([resize(votes[..., k], box.source) for k in range(self.num_classes)])
        label: NDArray[np.uint8] = resized.argmax(axis=0).astype(np.uint8)
        margin = _margin(picture, colors)
        details = {"margin": margin, "shift_r": float(shift[0]), "shift_g": float(shift[1]), "shift_b": float(shift[2])}
        if self.smooth:
            cleaned = remove_speckle(majority(label, self.num_classes))
            details["smoothed"] = float((cleaned != label).mean())
            label = cleaned
        return Decoded(label, confidence=margin, details=details)

    def evidence(self, frame: NDArray[np.floating[Any]] | NDArray[np.uint8], box: Letterbox) -> NDArray[np.float32]:
        """(h, w) of the source, in [0, 1]: how far each pixel is from black towards its class; 0 on the background.

        What several frames about one picture say of a pixel is compared by it.
        """
        picture = np.ascontiguousarray(on_canvas(frame, box)[box.window])
        colors, _ = self._calibrated(picture)
        distances = np.sqrt(squared_distances(picture, colors))
        index = distances.argmin(axis=-1)
        gap = np.maximum(np.linalg.norm(colors - colors[0], axis=1), 1.0)[index]
        share = np.clip((distances[..., 0] - distances.min(axis=-1)) / gap, 0.0, 1.0)
        return np.asarray(resize(np.where(index == 0, 0.0, share).astype(np.float32), box.source))

    def _calibrated(self, picture: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Class colours as this picture shows them, and their shift; unshifted when a shift does not explain more."""
        colors = np.asarray(self.palette, dtype=np.float32)
        pixels = picture.reshape(-1, 3)
        shift = estimate_shift(pixels, colors)
        errors = [float(squared_distances(pixels, shifted(colors, s)).min(axis=1).mean()) for s in (0 * shift, shift)]
        if errors[1] >= errors[0]:
            shift = np.zeros_like(shift)
        return shifted(colors, shift), shift

    def spec(self) -> dict[str, Any]:
        """Number of classes and smoothing."""
        return {"num_classes": self.num_classes, "smooth": self.smooth}


def _margin(picture: NDArray[np.float32], colors: NDArray[np.float32]) -> float:
    """Mean of (second distance - best distance) / distance between those two colours, in [0, 1]."""
    distances = np.sqrt(squared_distances(picture.reshape(-1, 3), colors))
    order = distances.argsort(axis=1)[:, :2]
    best, second = np.take_along_axis(distances, order, axis=1).T
    gap = np.linalg.norm(colors[order[:, 0]] - colors[order[:, 1]], axis=1)
    return float(np.clip((second - best) / np.maximum(gap, 1.0), 0.0, 1.0).mean())


def majority(label: NDArray[np.uint8], num_classes: int) -> NDArray[np.uint8]:
    """(h, w) classes → the commonest class of each 3 x 3 neighbourhood; ties keep the pixel's own class."""
    votes = np.eye(num_classes, dtype=np.float32)[label]
    counts = np.stack([cv2.boxFilter(votes[..., k], -1, (3, 3), normalize=False) for k in range(num_classes)], axis=2)
    winner: NDArray[np.uint8] = (counts + 0.5 * votes).argmax(axis=2).astype(np.uint8)
    return winner


def remove_speckle(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w) classes with every component below ``SPECKLE`` of the area replaced by the nearest remaining class."""
    speckle = np.zeros(label.shape, dtype=bool)
    for value in np.unique(label):
        _, components, stats, _ = cv2.connectedComponentsWithStats((label == value).astype(np.uint8), connectivity=8)
        small = stats[:, cv2.CC_STAT_AREA] < SPECKLE * label.size
        small[0] = False
        speckle |= small[components]
    if not speckle.any() or speckle.all():
        return label
    _, seeds = cv2.distanceTransformWithLabels(speckle.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    classes = np.zeros(seeds.max() + 1, dtype=np.uint8)
    classes[seeds[~speckle]] = label[~speckle]
    filled: NDArray[np.uint8] = classes[seeds]
    return filled
