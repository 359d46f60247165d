"""Segmentation: folders of images and masks, and all instances of one COCO category."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Codec
from vdmfewshot.codecs.mask import MaskCodec
from vdmfewshot.data.augment import Augmenter, Jitter
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.coco import CocoFile, Record, find_categories, image_file, load_coco, record_size
from vdmfewshot.data.coco_masks import check_segmentation, instances_mask
from vdmfewshot.data.examples import DataError, Example, LeftOut, Splits, safe_key
from vdmfewshot.data.orientation import Exif, turned
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.data.photos import read_sized
from vdmfewshot.data.pictures import Background
from vdmfewshot.data.sources import resolve
from vdmfewshot.data.survey import summarize
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.segmentation import SegmentationMetric


class MaskFolderDataModule(PairsDataModule):
    """Pictures in ``images`` folders and masks in ``masks`` folders, matched by file name.

    As ``PairsDataModule`` with other usual names: ``root/train/{images,masks}`` with optional ``val`` and ``test``, or
    ``root/{images,masks}``. ``variants`` > 1 mirror, scale, turn and shift picture and mask together.

    Args:
        root: the folder, or ``sample:nuclei``, ``sample:cells``, ``sample:person-masks`` for data that ship with the
            package.
        num_classes: number of classes, background included, 2-8.
        mask_format: ``black_white`` for one object class drawn in white (two classes only); ``indices`` for pixel
            values that are class indices, with 255 for pixels that neither train nor count.
        val_fraction: share of the training pairs kept for validation where there is no ``val`` folder, in [0, 1).
        background: what shows through transparent pixels.
        **kwargs: see ``PairsDataModule``.

    Raises:
        ValueError: if ``num_classes`` is out of range or too many for ``black_white``.
    """

    input_folder: ClassVar[str] = "images"
    target_folder: ClassVar[str] = "masks"

    def __init__(
        self,
        root: str,
        num_classes: int = 2,
        mask_format: Literal["black_white", "indices"] = "black_white",
        val_fraction: float = 0.0,
        background: Background = "black",
        **kwargs: Any,
    ) -> None:
        if not 2 <= num_classes <= 8:
            raise ValueError(f"num_classes must be 2 to 8, background included, got {num_classes}")
        self.binary = mask_format == "black_white"
        if num_classes > 2 and self.binary:
            raise ValueError(f'num_classes must be 2 for black-and-white masks, got {num_classes}; use "indices"')
        target: Literal["mask", "labels"] = "mask" if self.binary else "labels"
        count = None if self.binary else num_classes
        super().__init__(root, target, count, val_fraction, background, **kwargs)


def read_instances(
    key: str, file: Path, segmentations: Sequence[Any], size: tuple[int, int], exif: Exif, meta: dict[str, Any]
) -> Pair:
    """Read a picture and draw its instances as one mask."""
    image, turn = read_sized(file, size, exif)
    return Pair(key, image, turned(instances_mask(segmentations, size), turn), meta)


class CocoInstancesDataModule(FewShotDataModule):
    """All instances of one COCO category, crowds included, as one binary mask an image.

    Images without an instance are left out. An annotation that cannot be drawn is left out, counted and named, or, if
    ``strict``, refused. Without ``test_annotations``, ``shots`` images train and the rest is the
    test set. ``variants`` > 1 mirror, scale, turn and shift image and mask together.

    Args:
        images: folder of the images.
        annotations: COCO instances file.
        category: name of the category, such as ``dog``.
        test_images: folder of the test images; ``images`` if not given.
        test_annotations: COCO instances file of the test images.
        exif: how labels of photos with an EXIF orientation were drawn, ``upright`` or ``stored``.
        **kwargs: see ``FewShotDataModule``.
    """

    check_pool: ClassVar[bool] = False

    def __init__(
        self,
        images: str,
        annotations: str,
        category: str,
        test_images: str | None = None,
        test_annotations: str | None = None,
        exif: Exif = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.exif: Exif = exif
        self.images = images
        self.annotations = annotations
        self.category = category
        self.test_images = test_images or images
        self.test_annotations = test_annotations
        self.task_name = safe_key(category)

    def load(self) -> Splits:
        """List the images that show the category.

        Raises:
            DataError: if a file is no COCO file, or shows the category nowhere.
        """
        left_out: list[LeftOut] = []
        pool, problems = self._examples(self.images, self.annotations, left_out)
        if self.test_annotations is None:
            return Splits(pool, hold_out=True, problems=problems, left_out=left_out)
        test, wrong = self._examples(self.test_images, self.test_annotations, left_out)
        return Splits(pool, test=test, problems=[*problems, *wrong], left_out=left_out)

    def _examples(self, images: str, annotations: str, left_out: list[LeftOut]) -> tuple[list[Example], list[str]]:
        folder, coco = resolve(images), load_coco(resolve(annotations))
        categories = find_categories(coco, self.category)
        left_out += coco.left_out
        by_image: dict[int | str, list[Record]] = {}
        for annotation in coco.of(categories):
            by_image.setdefault(annotation["image_id"], []).append(annotation)
        examples, problems = [], []
        for identity in sorted(by_image, key=str if any(isinstance(i, str) for i in by_image) else None):
            record = coco.images[identity]
            try:
                file, size = image_file(folder, record), record_size(record)
                if size is None:
                    raise ValueError("needs a file_name, height and width")
            except ValueError as error:
                problems.append(f"{coco.path}: image {identity}: {error}")
                continue
            parts = list(self._drawable(coco, by_image[identity], size, left_out))
            if parts:
                examples.append(self._example(coco, record, file, size, parts))
        if not examples and not problems:
            raise DataError([_nothing_left(coco, self.category, left_out)])
        return examples, problems

    def _drawable(
        self, coco: CocoFile, annotations: Sequence[Record], size: tuple[int, int], left_out: list[LeftOut]
    ) -> Iterator[Any]:
        """Segmentations that can be drawn; the others are left out."""
        for annotation in annotations:
            try:
                yield check_segmentation(annotation.get("segmentation"), size)
            except ValueError as error:
                left_out.append(LeftOut(coco.place(annotation), str(error)))

    def _example(
        self, coco: CocoFile, record: Record, file: Path, size: tuple[int, int], parts: Sequence[Any]
    ) -> Example:
        meta = {"task": self.task_name, "source": file.name, "image_id": record["id"]}
        key = safe_key(f"{Path(file.name).stem}-{record['id']}")
        read = functools.partial(read_instances, key, file, parts, size, self.exif, meta)
        return Example(key, f"{coco.path}: image {record['id']}", read)

    def make_codec(self) -> Codec[Any]:
        """White on black."""
        return MaskCodec()

    def make_metric(self) -> TaskMetric:
        """IoU, Dice and boundary F."""
        return SegmentationMetric(2)

    def make_augmenter(self) -> Augmenter:
        """Image and mask moved together."""
        return Jitter(self.seed)


def _nothing_left(coco: CocoFile, category: str, left_out: Sequence[LeftOut]) -> str:
    reasons = f"; left out {summarize(left_out)}" if left_out else ""
    return f"{coco.path}: no picture shows the category {category!r}, of {len(coco.images)} pictures{reasons}"
