"""Target files as labels: pictures, masks and label maps, checked against their input picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.geometry import resize
from vdmfewshot.codecs.labelmap import IGNORE
from vdmfewshot.data.classes import ClassTable
from vdmfewshot.data.masks import Foreground, mask_levels, read_labels, read_mask, read_raw
from vdmfewshot.data.orientation import Exif, place_label, same_aspect
from vdmfewshot.data.pictures import Background, Source, named, read_orientation, read_picture

#: (target; its input picture; EXIF orientation that the input was turned by) → label; picklable
TargetReader = Callable[[Source, NDArray[np.uint8], int], Any]


@dataclass(frozen=True)
class ImageReader:
    """Target pictures. Another size than the input's is legal if the aspect ratio agrees: it is then resized."""

    background: Background = "black"
    exif: Exif = "auto"

    def __call__(self, path: Source, image: NDArray[np.uint8], orientation: int = 1) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 RGB of the input's size."""
        with named(path):
            target = _turned(read_picture(path, self.background), path, image, orientation, self.exif)
            if same_aspect(target, image):
                return resize(target, (image.shape[0], image.shape[1]))
            raise ValueError(f"{_size(target)} pixels, its input {_size(image)}: the aspect ratios must agree")


@dataclass(frozen=True)
class MaskReader:
    """Masks of exactly the input's size: resizing would move the boundary.

    Attributes:
        foreground: which values are the object.
        levels: values of all masks of the data set; of each file alone if empty.
        exif: how labels of turned photos were drawn.
    """

    foreground: Foreground = "auto"
    levels: frozenset[int] = frozenset()
    exif: Exif = "auto"

    def __call__(
        self, path: Source, image: NDArray[np.uint8], orientation: int = 1
    ) -> NDArray[np.bool_] | NDArray[np.uint8]:
        """(h, w) bool, ``True`` on the object; uint8 of 0, 1 and 255 where pixels are to be ignored."""
        with named(path):
            mask = read_mask(path, self.levels, self.foreground)
            return _same_size(_turned(mask, path, image, orientation, self.exif), image)

    def for_files(self, sources: Iterable[Source]) -> MaskReader:
        """This reader with the values of all masks of the data set."""
        return replace(self, levels=mask_levels(sources))


@dataclass(frozen=True)
class LabelReader:
    """Label maps of exactly the input's size with classes 0 … ``num_classes`` - 1 and 255 for pixels to ignore.

    Attributes:
        num_classes: K.
        table: what values and colours stand for; values are classes if not given.
        as_mask: whether class 1 of two is wanted as a mask.
        exif: how labels of turned photos were drawn.
    """

    num_classes: int
    table: ClassTable | None = None
    as_mask: bool = False
    exif: Exif = "auto"

    def __call__(
        self, path: Source, image: NDArray[np.uint8], orientation: int = 1
    ) -> NDArray[np.uint8] | NDArray[np.bool_]:
        """(h, w) uint8."""
        with named(path):
            labels = self.table.apply(read_raw(path)) if self.table else self._plain(path)
            labels = _same_size(_turned(labels, path, image, orientation, self.exif), image)
        return labels == 1 if self.as_mask and not (labels == IGNORE).any() else labels

    def _plain(self, path: Source) -> NDArray[np.uint8]:
        labels = read_labels(path)
        wrong = sorted(set(np.unique(labels).tolist()) - {*range(self.num_classes), IGNORE})
        if wrong:
            table = ", ".join(f"class{i}: {v}" for i, v in enumerate(v for v in np.unique(labels)[:8] if v != IGNORE))
            raise ValueError(
                f"values {', '.join(map(str, wrong[:8]))} are not classes; legal are 0 to "
                f"{self.num_classes - 1}, and {IGNORE} to ignore a pixel; say what values mean with --data.classes "
                f"'{{{table}}}'"
            )
        return labels.astype(np.uint8)


def _turned(label: NDArray[Any], path: Source, image: NDArray[Any], orientation: int, exif: Exif) -> NDArray[Any]:
    """The label turned with its photo where it was drawn on stored pixels; one with EXIF of its own is upright."""
    own = orientation > 1 and read_orientation(path) > 1
    return label if own else place_label(label, image, orientation, exif)


def _same_size(labels: NDArray[Any], image: NDArray[np.uint8]) -> NDArray[Any]:
    if labels.shape != image.shape[:2]:
        raise ValueError(
            f"{_size(labels)} pixels, its input {_size(image)}: masks must have the input's size; was one of "
            "them resized after labelling?"
        )
    return labels


def _size(picture: NDArray[Any]) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
