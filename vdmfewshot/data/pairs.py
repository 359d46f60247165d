"""Any folder of input and target pictures: what a user with five labelled pictures runs."""

from __future__ import annotations

from typing import Any, Literal

from vdmfewshot.codecs.base import Codec
from vdmfewshot.codecs.image import ImageCodec
from vdmfewshot.codecs.labelmap import LabelMapCodec
from vdmfewshot.codecs.mask import MaskCodec
from vdmfewshot.data.augment import Augmenter, Jitter
from vdmfewshot.data.folders import FolderDataModule
from vdmfewshot.data.pictures import Background
from vdmfewshot.data.readers import ImageReader, LabelReader, MaskReader, TargetReader
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.image import ImageMetric
from vdmfewshot.metrics.segmentation import SegmentationMetric


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
