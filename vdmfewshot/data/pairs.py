"""Any folder of input and target pictures: what a user with five labelled pictures runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.codecs.base import Codec
from vdmfewshot.codecs.image import ImageCodec
from vdmfewshot.codecs.labelmap import IGNORE, LabelMapCodec
from vdmfewshot.codecs.mask import MaskCodec
from vdmfewshot.data.augment import Augmenter, Jitter
from vdmfewshot.data.folders import FolderDataModule, TargetReader
from vdmfewshot.data.pictures import Background, read_labels, read_mask, read_picture
from vdmfewshot.geometry import resize
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.image import ImageMetric
from vdmfewshot.metrics.segmentation import SegmentationMetric

#: widths and heights may differ from a common factor by this share (rounding of a resized copy)
ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class ImageReader:
    """Target pictures. Another size than the input's is legal if the aspect ratio agrees: it is then resized."""

    background: Background = "black"

    def __call__(self, path: Path, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 RGB of the input's size."""
        target = read_picture(path, self.background)
        ratio = target.shape[0] * image.shape[1] / (target.shape[1] * image.shape[0])
        if abs(ratio - 1) > ASPECT_TOLERANCE:
            raise ValueError(f"{path}: {_size(target)} pixels, its input {_size(image)}: the aspect ratios must agree")
        return resize(target, (image.shape[0], image.shape[1]))


@dataclass(frozen=True)
class MaskReader:
    """Black-and-white masks of exactly the input's size: resizing would move the boundary."""

    def __call__(self, path: Path, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(h, w) bool, ``True`` on the object."""
        return _same_size(path, read_mask(path), image)


@dataclass(frozen=True)
class LabelReader:
    """Label maps of exactly the input's size with classes 0 … ``num_classes`` - 1 and 255 for pixels to ignore."""

    num_classes: int

    def __call__(self, path: Path, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(h, w) uint8."""
        labels = _same_size(path, read_labels(path), image)
        wrong = sorted(set(np.unique(labels).tolist()) - {*range(self.num_classes), IGNORE})
        if wrong:
            raise ValueError(
                f"{path}: values {', '.join(map(str, wrong[:8]))} are not classes; legal are 0 to "
                f"{self.num_classes - 1}, and {IGNORE} to ignore a pixel"
            )
        return labels.astype(np.uint8)


def _same_size(path: Path, labels: NDArray[Any], image: NDArray[np.uint8]) -> NDArray[Any]:
    if labels.shape != image.shape[:2]:
        raise ValueError(f"{path}: {_size(labels)} pixels, its input {_size(image)}: masks must have the input's size")
    return labels


def _size(picture: NDArray[Any]) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"


class PairsDataModule(FolderDataModule):
    """Pairs of pictures in ``input`` and ``target`` folders, matched by file name (layouts: ``FolderDataModule``).

    Target pictures may differ in size from their inputs if the aspect ratio agrees; masks and label maps must have
    exactly the input's size. With ``variants`` > 1, input and target are mirrored, scaled, turned and shifted
    together: right for tasks that look the same anywhere in the picture (masks, edges, colours), wrong for tasks about
    place and direction (flips, rotations, zooms).

    Args:
        root: folder with ``input`` and ``target``, or with ``train/input`` and ``train/target``.
        target: what the target files are: pictures, black-and-white masks, or label maps.
        num_classes: number of classes of label maps, background included, 2-8; only with ``target="labels"``.
        val_fraction: share of the training pairs kept for validation where there is no ``val`` folder, in [0, 1).
        background: what shows through transparent pixels.
        **kwargs: see ``FewShotDataModule``.

    Raises:
        ValueError: if ``num_classes`` does not fit ``target``.
    """

    def __init__(
        self,
        root: str,
        target: Literal["image", "mask", "labels"] = "image",
        num_classes: int | None = None,
        val_fraction: float = 0.0,
        background: Background = "black",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, val_fraction, background, **kwargs)
        if (target == "labels") != (num_classes is not None):
            raise ValueError(f'num_classes is needed exactly for target="labels", got {num_classes} for {target!r}')
        if num_classes is not None and not 2 <= num_classes <= 8:
            raise ValueError(f"num_classes must be 2 to 8, got {num_classes}")
        self.target = target
        self.num_classes = num_classes or 2

    def make_reader(self) -> TargetReader:
        """Reader of this kind of target."""
        if self.target == "image":
            return ImageReader(self.background)
        return MaskReader() if self.target == "mask" else LabelReader(self.num_classes)

    def make_codec(self) -> Codec[Any]:
        """Pictures as they are, white-on-black masks, or one colour a class."""
        if self.target == "image":
            return ImageCodec()
        return MaskCodec() if self.target == "mask" else LabelMapCodec(self.num_classes)

    def make_metric(self) -> TaskMetric:
        """PSNR and SSIM for pictures, IoU for masks and label maps."""
        return ImageMetric() if self.target == "image" else SegmentationMetric(self.num_classes)

    def make_augmenter(self) -> Augmenter:
        """Input and target moved together."""
        return Jitter(self.seed)
