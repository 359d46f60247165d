"""Any folder of input and target pictures: what a user with five labelled pictures runs."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Literal, Self

from vdmfewshot.codecs.base import Codec
from vdmfewshot.codecs.image import ImageCodec
from vdmfewshot.codecs.labelmap import LabelMapCodec
from vdmfewshot.codecs.mask import MaskCodec
from vdmfewshot.data.augment import Augmenter, Jitter
from vdmfewshot.data.examples import Example, Splits
from vdmfewshot.data.folders import FolderDataModule
from vdmfewshot.data.memory import AnyPicture, as_rows, read_pair
from vdmfewshot.data.pictures import Background
from vdmfewshot.data.readers import ImageReader, LabelReader, MaskReader, TargetReader
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.image import ImageMetric
from vdmfewshot.metrics.segmentation import SegmentationMetric

TargetName = Literal["image", "mask", "labels"]


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
        target: TargetName = "image",
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
        self._held: tuple[list[tuple[AnyPicture, AnyPicture]], list[AnyPicture]] | None = None

    @classmethod
    def from_pairs(
        cls, pairs: Iterable[Any], target: TargetName = "image", queries: Iterable[AnyPicture] = (), **kwargs: Any
    ) -> Self:
        """The same for pairs that a program already holds, instead of a folder.

        Args:
            pairs: (input, target) each, or rows of a table with these two columns, such as those of a Hugging Face
                dataset. Pictures are arrays, PIL pictures, tensors or paths, see ``vdmfewshot.data.memory.as_picture``.
                ``shots`` of them train, the others are scored.
            target: what the targets are, as for folders.
            queries: inputs without target, for ``predict``.
            **kwargs: the other arguments of the class, ``root`` excepted.

        Raises:
            ValueError: if an item is not a pair. What is wrong with pictures is said by ``setup``, all at once.
        """
        data = cls("pairs", target, **kwargs)
        data._held = as_rows(pairs), list(queries)
        return data

    def load(self) -> Splits:
        """List the files, or the pairs in memory."""
        if self._held is None:
            return super().load()
        pairs, queries = self._held
        pool = [self._held_example(f"pair-{i:03d}", f"pair {i}", x, y) for i, (x, y) in enumerate(pairs)]
        predict = [self._held_example(f"query-{i:03d}", f"query {i}", x, None) for i, x in enumerate(queries)]
        return self._with_validation(Splits(pool, predict=predict, hold_out=True))

    def _held_example(self, key: str, source: str, image: AnyPicture, target: AnyPicture | None) -> Example:
        read = functools.partial(read_pair, key, image, target, self.make_reader(), self.background, self.task_name)
        return Example(key, source, read)

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
