"""Pose of one person at a time: top-down crops around ground-truth boxes of COCO keypoint files."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from vdmfewshot.clips.clip import Pair
from vdmfewshot.codecs.base import Codec
from vdmfewshot.codecs.keypoints import KeypointCodec
from vdmfewshot.data.augment import Augmenter, PoseJitter
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.coco import find_category, image_file, load_coco
from vdmfewshot.data.examples import DataError, Example, Splits, safe_key
from vdmfewshot.data.pictures import read_picture
from vdmfewshot.data.sources import resolve
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.keypoint_ap import COCO_SIGMAS
from vdmfewshot.metrics.pose import PoseMetric


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


def read_person(key: str, file: Path, window: Window, points: NDArray[np.float64], meta: dict[str, Any]) -> Pair:
    """Read a picture and cut out one person."""
    image = read_picture(file)
    drawn = points[points[:, 2] > 0, :2]
    if ((drawn < 0) | (drawn > image.shape[1::-1])).any():
        raise ValueError(f"a keypoint lies outside {file.name} ({image.shape[1]} x {image.shape[0]} pixels)")
    return Pair(key, window.cut(image), window.points(points), meta)


def mirrored_joints(names: Sequence[str]) -> tuple[int, ...]:
    """For each joint name, the index of its mirror image: ``left_knee`` ↔ ``right_knee``, ``nose`` itself."""
    swap = {"left": "right", "right": "left"}
    twins = ["_".join(swap.get(word, word) for word in name.split("_")) for name in names]
    return tuple(list(names).index(twin) if twin in names else i for i, twin in enumerate(twins))


class CocoPoseDataModule(FewShotDataModule):
    """Persons of a COCO keypoint file, each in a square crop around its ground-truth box ("GT boxes").

    Crowds and persons without a labelled joint are left out and counted in ``skipped``. Without ``test_annotations``,
    ``shots`` persons train and the rest is the test set. ``variants`` > 1 mirror (with left and right exchanged),
    scale, turn and shift image and joints together. Targets are (J, 3) x, y in crop pixels and visibility.

    Args:
        images: folder of the images, or ``sample:people/images``.
        annotations: COCO keypoint file, or ``sample:people/train.json``.
        test_images: folder of the test images; ``images`` if not given.
        test_annotations: COCO keypoint file of the test images, or ``sample:people/test.json``.
        category: name of the category that has keypoints.
        padding: side of the crop as a multiple of the box's longer side.
        sigmas: constants of OKS for each joint; COCO's if there are 17 joints.
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
        self.task_name = safe_key(f"{category}-pose")
        self.skipped: Counter[str] = Counter()
        self._joints: tuple[str, ...] = ()

    def load(self) -> Splits:
        """List the persons.

        Raises:
            DataError: if a file is no COCO keypoint file.
        """
        self.skipped.clear()
        pool, problems = self._examples(self.images, self.annotations)
        test, wrong = self._examples(self.test_images, self.test_annotations) if self.test_annotations else ([], [])
        if self.skipped:
            rank_zero_info(f"{self.task_name}: left out {dict(self.skipped)}")
        return Splits(pool, test=test, hold_out=self.test_annotations is None, problems=[*problems, *wrong])

    def _examples(self, images: str, annotations: str) -> tuple[list[Example], list[str]]:
        folder, path = resolve(images), resolve(annotations)
        coco = load_coco(path)
        category = find_category(coco, self.category, path)
        joints = tuple(map(str, category.get("keypoints", ())))
        if not joints or self._joints not in ((), joints):
            raise DataError(
                [f"{path}: category {self.category!r} needs keypoint names, the same in all files; got {joints}"]
            )
        self._joints = joints
        examples: list[Example] = []
        problems: list[str] = []
        for annotation in coco.loadAnns(sorted(coco.getAnnIds(catIds=[category["id"]]))):
            place = f"{path}: annotation {annotation['id']}"
            try:
                example = self._example(place, folder, coco.imgs[annotation["image_id"]], annotation)
            except (ValueError, TypeError, KeyError) as error:
                problems.append(f"{place}: {error if isinstance(error, ValueError) else f'malformed ({error!r})'}")
                continue
            examples += [example] if example else []
        return examples, problems

    def _example(
        self, place: str, folder: Path, record: Mapping[str, Any], annotation: Mapping[str, Any]
    ) -> Example | None:
        points = joint_rows(annotation["keypoints"], len(self._joints))
        x, y, width, height = (float(value) for value in annotation["bbox"])
        reason = "crowd" if annotation.get("iscrowd") else "" if (points[:, 2] > 0).any() else "no labelled joint"
        reason = reason or ("" if width > 0 and height > 0 else "empty box")
        if reason:
            self.skipped[reason] += 1
            return None
        file = image_file(folder, record)
        window = Window.around((x, y, width, height), self.padding)
        meta = {
            "task": self.task_name,
            "source": file.name,
            "annotation_id": annotation["id"],
            "area": float(annotation.get("area") or width * height),
            "bbox": [x - window.left, y - window.top, width, height],
        }
        key = safe_key(f"{Path(file.name).stem}-{annotation['id']}")
        return Example(key, place, functools.partial(read_person, key, file, window, points, meta))

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
        """Image and joints moved together."""
        return PoseJitter(self.seed, mirrored=mirrored_joints(self._joints))


def joint_rows(values: Sequence[float], count: int) -> NDArray[np.float64]:
    """COCO's flat x, y, v list as (J, 3).

    Raises:
        ValueError: if there are not three finite numbers a joint, or a v is not 0, 1 or 2.
    """
    if len(values) != 3 * count:
        raise ValueError(f"keypoints must be {3 * count} numbers (x, y, v of {count} joints), got {len(values)}")
    points = np.array(values, dtype=np.float64).reshape(count, 3)
    if not np.isfinite(points).all() or not np.isin(points[:, 2], (0, 1, 2)).all():
        raise ValueError("keypoints must be finite, with visibility 0, 1 or 2")
    return points
