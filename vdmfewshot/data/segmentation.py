"""Segmentation: folders of images and masks, and all instances of one COCO category."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Codec
from vdmfewshot.codecs.labelmap import LabelMapCodec
from vdmfewshot.codecs.mask import MaskCodec
from vdmfewshot.data.augment import Augmenter, Jitter
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.coco import find_category, image_file, instances_mask, load_coco
from vdmfewshot.data.examples import Example, Splits, safe_key
from vdmfewshot.data.folders import FolderDataModule
from vdmfewshot.data.pictures import Background, read_picture
from vdmfewshot.data.readers import LabelReader, MaskReader, TargetReader
from vdmfewshot.data.sources import resolve
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.segmentation import SegmentationMetric


class MaskFolderDataModule(FolderDataModule):
    """Pictures in ``images`` folders and masks in ``masks`` folders, matched by file name.

    Layouts as in ``FolderDataModule``: ``root/train/{images,masks}`` with optional ``val`` and ``test``, or
    ``root/{images,masks}``. ``variants`` > 1 mirror, scale, turn and shift picture and mask together.

    Args:
        root: the folder, or ``sample:nuclei``, ``sample:cells``, ``sample:person-masks`` for data that ship with the
            package.
        num_classes: number of classes, background included, 2-8.
        mask_format: ``black_white`` for one object class drawn in white (two classes only); ``indices`` for pixel
            values that are class indices, with 255 for pixels that neither train nor count.
        val_fraction: share of the training pairs kept for validation where there is no ``val`` folder, in [0, 1).
        background: what shows through transparent pixels.
        **kwargs: see ``FewShotDataModule``.

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
        super().__init__(root, val_fraction, background, **kwargs)
        if not 2 <= num_classes <= 8:
            raise ValueError(f"num_classes must be 2 to 8, background included, got {num_classes}")
        if num_classes > 2 and mask_format == "black_white":
            raise ValueError(f'num_classes must be 2 for black-and-white masks, got {num_classes}; use "indices"')
        self.num_classes = num_classes
        self.binary = mask_format == "black_white"

    def make_reader(self) -> TargetReader:
        """Reader of this kind of mask."""
        return MaskReader() if self.binary else LabelReader(self.num_classes)

    def make_codec(self) -> Codec[Any]:
        """White on black, or one colour a class."""
        return MaskCodec() if self.binary else LabelMapCodec(self.num_classes)

    def make_metric(self) -> TaskMetric:
        """IoU, Dice and boundary F."""
        return SegmentationMetric(self.num_classes)

    def make_augmenter(self) -> Augmenter:
        """Picture and mask moved together."""
        return Jitter(self.seed)


def read_instances(
    key: str, file: Path, segmentations: Sequence[Any], size: tuple[int, int], meta: dict[str, Any]
) -> Pair:
    """Read a picture and draw its instances as one mask."""
    image = read_picture(file)
    if image.shape[:2] != size:
        raise ValueError(f"{file}: {image.shape[:2]} (height, width), the annotation file says {size}")
    return Pair(key, image, instances_mask(segmentations, size), meta)


class CocoInstancesDataModule(FewShotDataModule):
    """All instances of one COCO category, crowds included, as one binary mask an image.

    Images without an instance are left out. Without ``test_annotations``, ``shots`` images train and the rest is the
    test set. ``variants`` > 1 mirror, scale, turn and shift image and mask together.

    Args:
        images: folder of the images.
        annotations: COCO instances file.
        category: name of the category, such as ``dog``.
        test_images: folder of the test images; ``images`` if not given.
        test_annotations: COCO instances file of the test images.
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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.images = images
        self.annotations = annotations
        self.category = category
        self.test_images = test_images or images
        self.test_annotations = test_annotations
        self.task_name = safe_key(category)

    def load(self) -> Splits:
        """List the images that show the category."""
        pool, problems = self._examples(self.images, self.annotations)
        if self.test_annotations is None:
            return Splits(pool, hold_out=True, problems=problems)
        test, wrong = self._examples(self.test_images, self.test_annotations)
        return Splits(pool, test=test, problems=[*problems, *wrong])

    def _examples(self, images: str, annotations: str) -> tuple[list[Example], list[str]]:
        folder, path = resolve(images), resolve(annotations)
        coco = load_coco(path)
        category = find_category(coco, self.category, path)["id"]
        examples, problems = [], []
        for record in coco.loadImgs(sorted(coco.getImgIds(catIds=[category]))):
            try:
                file = image_file(folder, record)
                size = (int(record["height"]), int(record["width"]))
            except (ValueError, KeyError, TypeError) as error:
                problems.append(f"{path}: image {record['id']}: needs a file_name, height and width ({error})")
                continue
            found = coco.loadAnns(coco.getAnnIds(imgIds=[record["id"]], catIds=[category]))
            meta = {"task": self.task_name, "source": file.name, "image_id": record["id"]}
            parts = [annotation.get("segmentation") for annotation in found]
            key = safe_key(f"{Path(file.name).stem}-{record['id']}")
            read = functools.partial(read_instances, key, file, parts, size, meta)
            examples.append(Example(key, f"{path}: image {record['id']}", read))
        return examples, problems

    def make_codec(self) -> Codec[Any]:
        """White on black."""
        return MaskCodec()

    def make_metric(self) -> TaskMetric:
        """IoU, Dice and boundary F."""
        return SegmentationMetric(2)

    def make_augmenter(self) -> Augmenter:
        """Image and mask moved together."""
        return Jitter(self.seed)
