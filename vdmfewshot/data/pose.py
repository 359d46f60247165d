"""Pose of one person at a time: top-down crops around ground-truth boxes of COCO keypoint files."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Codec
from vdmfewshot.codecs.keypoints import KeypointCodec
from vdmfewshot.data.augment import Augmenter, PoseJitter
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.coco import Record, find_categories, image_file, load_coco, numbers, record_size
from vdmfewshot.data.coco_masks import normalised
from vdmfewshot.data.examples import DataError, Example, LeftOut, Splits, safe_key
from vdmfewshot.data.joints import UnknownSides, joint_rows, mirrored_joints
from vdmfewshot.data.orientation import Exif, turned_box, turned_points
from vdmfewshot.data.photos import read_sized
from vdmfewshot.data.pictures import read_size
from vdmfewshot.data.sources import resolve
from vdmfewshot.data.survey import say, summarize
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.keypoint_ap import COCO_SIGMAS
from vdmfewshot.metrics.pose import PoseMetric

#: a box may reach over the border, but not be this many times as large as the picture
LARGEST_BOX = 2.0
OUTSIDE = "a joint beyond the picture, which counts as not labelled"


@dataclass(frozen=True)
class Window:
    """A square cut-out of a picture, in whole pixels; it may reach over the border."""

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, bbox: Sequence[float], padding: float) -> Window:
        """Square around a box (x, y, width, height), ``padding`` times its longer side."""
        x, y, width, height = bbox
        side = max(1, round(padding * max(width, height)))
        return cls(round(x + width / 2 - side / 2), round(y + height / 2 - side / 2), side)

    def cut(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(side, side, 3) cut-out, black beyond the border."""
        crop = np.zeros((self.side, self.side, 3), dtype=np.uint8)
        height, width = picture.shape[:2]
        top, bottom = np.clip((self.top, self.top + self.side), 0, height)
        left, right = np.clip((self.left, self.left + self.side), 0, width)
        crop[top - self.top :, left - self.left :][: bottom - top, : right - left] = picture[top:bottom, left:right]
        return crop

    def points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(J, 3) points in pixels of the cut-out; those outside become missing (0, 0, 0)."""
        moved = points - (self.left, self.top, 0)
        outside = ((moved[:, :2] < 0) | (moved[:, :2] > self.side)).any(axis=1)
        moved[outside | (points[:, 2] == 0)] = 0
        return moved


@dataclass(frozen=True)
class Person:
    """One labelled person, in pixels of the picture as the annotation file states it.

    Attributes:
        bbox: x, y, width, height.
        points: (J, 3) x, y, visibility.
        size: (height, width) that they are in, if the file says.
        padding: side of the crop as a multiple of the box's longer side.
    """

    bbox: tuple[float, ...]
    points: NDArray[np.float64]
    size: tuple[int, int] | None
    padding: float

    def turned(self, orientation: int, stored: tuple[int, int]) -> Person:
        """As EXIF orientation 1-8 shows the stored (height, width) picture."""
        x, y, width, height = self.bbox
        points = self.points.copy()
        points[:, :2] = turned_points(points[:, :2], orientation, stored)
        return replace(self, bbox=turned_box((x, y, width, height), orientation, stored), points=points)


def read_person(key: str, file: Path, person: Person, exif: Exif, meta: dict[str, Any]) -> Pair:
    """Read a picture and cut out one person."""
    image, turn = read_sized(file, person.size, exif)
    shape = (image.shape[0], image.shape[1])
    person = person.turned(turn, shape[::-1] if turn >= 5 else shape)
    window = Window.around(person.bbox, person.padding)
    x, y, width, height = person.bbox
    meta = meta | {"bbox": [x - window.left, y - window.top, width, height]}
    return Pair(key, window.cut(image), window.points(person.points), meta)


class CocoPoseDataModule(FewShotDataModule):
    """Persons of a COCO keypoint file, each in a square crop around its ground-truth box ("GT boxes").

    Crowds and persons without a labelled joint are left out and counted in ``skipped``; broken annotations are left
    out, counted and named, or, if ``strict``, refused. Joints beyond the picture count as not labelled. Without
    ``test_annotations``, ``shots`` persons train and the rest is the test set. ``variants`` > 1 mirror (with left and
    right exchanged), scale, turn and shift image and joints together. Targets are (J, 3) x, y in crop pixels and
    visibility.

    Args:
        images: folder of the images, or ``sample:people/images``.
        annotations: COCO keypoint file, or ``sample:people/train.json``.
        test_images: folder of the test images; ``images`` if not given.
        test_annotations: COCO keypoint file of the test images, or ``sample:people/test.json``.
        category: name of the category that has keypoints.
        padding: side of the crop as a multiple of the box's longer side.
        sigmas: constants of OKS for each joint; COCO's if there are 17 joints.
        swaps: pairs of joints, by index, that change places in mirror images; by their names if not given.
        exif: how labels of photos with an EXIF orientation were drawn, ``upright`` or ``stored``.
        **kwargs: see ``FewShotDataModule``.

    Raises:
        ValueError: if ``padding`` is below 1.
    """

    check_pool: ClassVar[bool] = False

    def __init__(
        self,
        images: str,
        annotations: str,
        test_images: str | None = None,
        test_annotations: str | None = None,
        category: str = "person",
        padding: float = 1.25,
        sigmas: list[float] | None = None,
        swaps: list[list[int]] | None = None,
        exif: Exif = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if padding < 1:
            raise ValueError(f"padding must be at least 1 (the box itself), got {padding}")
        self.images = images
        self.annotations = annotations
        self.test_images = test_images or images
        self.test_annotations = test_annotations
        self.category = category
        self.padding = padding
        self.sigmas = sigmas
        self.swaps = swaps
        self.exif: Exif = exif
        self.task_name = safe_key(f"{category}-pose")
        self.skipped: Counter[str] = Counter()
        self._joints: tuple[str, ...] = ()

    def load(self) -> Splits:
        """List the persons.

        Raises:
            DataError: if a file is no COCO keypoint file.
        """
        self.skipped.clear()
        left_out: list[LeftOut] = []
        pool, problems = self._examples(self.images, self.annotations, left_out)
        test, wrong = (
            self._examples(self.test_images, self.test_annotations, left_out) if self.test_annotations else ([], [])
        )
        if self.skipped:
            say(f"{self.task_name}: not used are {dict(self.skipped)}")
        return Splits(
            pool, test=test, hold_out=self.test_annotations is None, problems=[*problems, *wrong], left_out=left_out
        )

    def _examples(self, images: str, annotations: str, left_out: list[LeftOut]) -> tuple[list[Example], list[str]]:
        folder, coco = resolve(images), load_coco(resolve(annotations))
        categories = [c for c in find_categories(coco, self.category) if isinstance(c.get("keypoints"), list)]
        joints = tuple(map(str, categories[0]["keypoints"])) if categories else ()
        if not joints or self._joints not in ((), joints):
            raise DataError(
                [f"{coco.path}: category {self.category!r} needs keypoint names, the same in all files; got {joints}"]
            )
        self._joints = joints
        left_out += coco.left_out
        examples: list[Example] = []
        problems: list[str] = []
        for annotation in coco.of(categories):
            place = coco.place(annotation)
            try:
                file = image_file(folder, coco.images[annotation["image_id"]])
                size = record_size(coco.images[annotation["image_id"]])
            except ValueError as error:
                problems.append(f"{place}: {error}")
                continue
            try:
                person = self._person(annotation, size, read_size(file) if size is None else size)
            except ValueError as error:
                left_out.append(LeftOut(place, str(error)))
                continue
            if person is not None:
                left_out += [LeftOut(place, OUTSIDE)] * self._beyond(annotation, person)
                examples.append(self._example(place, file, person, annotation))
        if not examples and not problems:
            reasons = f": left out {summarize(left_out)}" if left_out else ""
            raise DataError([f"{coco.path}: no person of category {self.category!r} can be used{reasons}"])
        return examples, list(dict.fromkeys(problems))

    def _person(self, annotation: Record, stated: tuple[int, int] | None, size: tuple[int, int]) -> Person | None:
        """The person, with joints beyond the picture as not labelled; ``None`` for crowds and bodies without joints.

        Raises:
            ValueError: if it is broken, with a reason that is the same for all that are broken in this way.
        """
        points = joint_rows(annotation.get("keypoints"), len(self._joints))
        box = numbers(annotation.get("bbox"))
        if len(box) != 4 or box[2] <= 0 or box[3] <= 0:
            raise ValueError("its box is empty, or not four numbers (x, y, width, height)")
        reason = "crowd" if annotation.get("iscrowd") else "" if (points[:, 2] > 0).any() else "no labelled joint"
        if reason:
            self.skipped[reason] += 1
            return None
        seen = points[np.isin(points[:, 2], (1, 2)), :2]
        corners = np.array([box[:2], [box[0] + box[2], box[1] + box[3]]])
        if normalised(np.concatenate([seen, corners]), size):
            raise ValueError("its joints lie within 0-1, as if divided by the picture's size: multiply them")
        if box[0] >= size[1] or box[1] >= size[0] or box[0] + box[2] <= 0 or box[1] + box[3] <= 0:
            raise ValueError("its box lies beside the picture")
        if max(box[2] / size[1], box[3] / size[0]) > LARGEST_BOX:
            raise ValueError("its box is much larger than the picture: of another size?")
        inside = ((points[:, :2] >= 0) & (points[:, :2] <= size[::-1])).all(axis=1) & (points[:, 2] < 3)
        if not (inside & (points[:, 2] > 0)).any():
            raise ValueError("all its joints lie beyond the picture")
        points[~inside] = 0
        return Person(tuple(box), points, stated, self.padding)

    def _beyond(self, annotation: Record, person: Person) -> int:
        """How many labelled joints were dropped."""
        labelled = joint_rows(annotation["keypoints"], len(self._joints))[:, 2] > 0
        return int(labelled.sum() - (person.points[:, 2] > 0).sum())

    def _example(self, place: str, file: Path, person: Person, annotation: Record) -> Example:
        area = annotation.get("area")
        plain = isinstance(area, int | float) and not isinstance(area, bool) and area > 0
        meta = {
            "task": self.task_name,
            "source": file.name,
            "annotation_id": annotation["id"],
            "area": float(area) if plain and area is not None else person.bbox[2] * person.bbox[3],
        }
        key = safe_key(f"{Path(file.name).stem}-{annotation['id']}")
        return Example(key, place, functools.partial(read_person, key, file, person, self.exif, meta))

    def make_codec(self) -> Codec[Any]:
        """One coloured disc a joint."""
        return KeypointCodec(len(self._joints))

    def make_metric(self) -> TaskMetric:
        """PCK, OKS and COCO AP.

        Raises:
            ValueError: if the joints are not COCO's 17 and ``sigmas`` are not given.
        """
        if self.sigmas is None and len(self._joints) != len(COCO_SIGMAS):
            raise ValueError(
                f"sigmas must be given for {len(self._joints)} joints: only COCO's {len(COCO_SIGMAS)} have known ones"
            )
        return PoseMetric(len(self._joints), self.sigmas or COCO_SIGMAS)

    def make_augmenter(self) -> Augmenter:
        """Image and joints moved together.

        Raises:
            ValueError: if ``variants`` > 1 and it cannot be told which joints change places in a mirror image.
        """
        try:
            mirrored = mirrored_joints(self._joints, self.swaps)
        except UnknownSides:
            if self.variants > 1:
                raise
            mirrored = tuple(range(len(self._joints)))
        if self.variants > 1 and self.swaps is None and mirrored == tuple(range(len(mirrored))):
            say(
                f"{self.task_name}: no joint is named left or right, so none changes places in mirror images "
                f"({', '.join(self._joints)}); say otherwise with --data.swaps"
            )
        return PoseJitter(self.seed, mirrored=mirrored)
