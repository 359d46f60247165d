"""Pose of one person at a time: top-down crops around ground-truth boxes of COCO keypoint files."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import Any

from vdmfewshot.data.coco import Record, box_of, find_categories, image_file, load_coco, record_size
from vdmfewshot.data.examples import DataError, Example, LeftOut, Splits, safe_key
from vdmfewshot.data.joints import joint_rows
from vdmfewshot.data.persons import OUTSIDE, Person, PersonDataModule, checked_person, read_person
from vdmfewshot.data.pictures import read_size
from vdmfewshot.data.sources import resolve
from vdmfewshot.data.survey import say, summarize


class CocoPoseDataModule(PersonDataModule):
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
        **kwargs: see ``PersonDataModule``.

    Raises:
        ValueError: if ``padding`` is below 1.
    """

    def __init__(
        self,
        images: str,
        annotations: str,
        test_images: str | None = None,
        test_annotations: str | None = None,
        category: str = "person",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.images = images
        self.annotations = annotations
        self.test_images = test_images or images
        self.test_annotations = test_annotations
        self.category = category
        self.task_name = safe_key(f"{category}-pose")
        self.skipped: Counter[str] = Counter()

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
        box = box_of(annotation)
        if box[2] <= 0 or box[3] <= 0:
            raise ValueError("its box is empty")
        reason = "crowd" if annotation.get("iscrowd") else "" if (points[:, 2] > 0).any() else "no labelled joint"
        if reason:
            self.skipped[reason] += 1
            return None
        return checked_person(points, box, size, stated, self.padding)

    def _beyond(self, annotation: Record, person: Person) -> int:
        """How many labelled joints were dropped."""
        labelled = joint_rows(annotation["keypoints"], len(self._joints))[:, 2] > 0
        return int(labelled.sum() - (person.points[:, 2] > 0).sum())

    def _example(self, place: str, file: Path, person: Person, annotation: Record) -> Example:
        area = annotation.get("area")
        plain = isinstance(area, int | float) and not isinstance(area, bool) and 0 < area < 1e300
        meta = {
            "task": self.task_name,
            "source": file.name,
            "image": str(file),
            "annotation_id": annotation["id"],
            "area": float(area) if plain and area is not None else person.bbox[2] * person.bbox[3],
        }
        key = safe_key(f"{Path(file.name).stem}-{annotation['id']}")
        return Example(key, place, functools.partial(read_person, key, file, person, self.exif, meta))
