"""Target files as labels: pictures, masks and label maps, checked against their input picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vdmfewshot.clips.geometry import resize
from vdmfewshot.codecs.labelmap import IGNORE
from vdmfewshot.data.pictures import Background, read_labels, read_mask, read_picture

#: (target file, or a picture that PIL has read; the input picture) → label; picklable
TargetReader = Callable[[Path | Image.Image, NDArray[np.uint8]], Any]

#: widths and heights may differ from a common factor by this share (rounding of a resized copy)
ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class ImageReader:
    """Target pictures. Another size than the input's is legal if the aspect ratio agrees: it is then resized."""

    background: Background = "black"

    def __call__(self, path: Path | Image.Image, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 RGB of the input's size."""
        target = read_picture(path, self.background)
        ratio = target.shape[0] * image.shape[1] / (target.shape[1] * image.shape[0])
        if abs(ratio - 1) > ASPECT_TOLERANCE:
            raise ValueError(
                f"{_place(path)}{_size(target)} pixels, its input {_size(image)}: the aspect ratios must agree"
            )
        return resize(target, (image.shape[0], image.shape[1]))


@dataclass(frozen=True)
class MaskReader:
    """Black-and-white masks of exactly the input's size: resizing would move the boundary."""

    def __call__(self, path: Path | Image.Image, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(h, w) bool, ``True`` on the object."""
        return _same_size(path, read_mask(path), image)


@dataclass(frozen=True)
class LabelReader:
    """Label maps of exactly the input's size with classes 0 … ``num_classes`` - 1 and 255 for pixels to ignore."""

    num_classes: int

    def __call__(self, path: Path | Image.Image, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(h, w) uint8."""
        labels = _same_size(path, read_labels(path), image)
        wrong = sorted(set(np.unique(labels).tolist()) - {*range(self.num_classes), IGNORE})
        if wrong:
            raise ValueError(
                f"{_place(path)}values {', '.join(map(str, wrong[:8]))} are not classes; legal are 0 to "
                f"{self.num_classes - 1}, and {IGNORE} to ignore a pixel"
            )
        return labels.astype(np.uint8)


def _same_size(path: Path | Image.Image, labels: NDArray[Any], image: NDArray[np.uint8]) -> NDArray[Any]:
    if labels.shape != image.shape[:2]:
        raise ValueError(
            f"{_place(path)}{_size(labels)} pixels, its input {_size(image)}: masks must have the input's size"
        )
    return labels


def _place(path: Path | Image.Image) -> str:
    """What messages about a file begin with."""
    return f"{path}: " if isinstance(path, Path) else ""


def _size(picture: NDArray[Any]) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
