"""People cut out of pictures one by one, around boxes that are given: what all sources of keypoints share."""

from __future__ import annotations

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
from vdmfewshot.data.coco_masks import normalised
from vdmfewshot.data.joints import UnknownSides, mirrored_joints
from vdmfewshot.data.orientation import Exif, turned_box, turned_points
from vdmfewshot.data.photos import read_sized
from vdmfewshot.data.survey import say
from vdmfewshot.metrics.base import TaskMetric
from vdmfewshot.metrics.keypoint_ap import COCO_SIGMAS
from vdmfewshot.metrics.pose import PoseMetric

#: radius of a joint's disc, and where the large one is the default: sides in pixels below this, up to so many joints
SMALL_DISC, LARGE_DISC, SMALL_CANVAS, MOST_LARGE = 0.04, 0.08, 128, 17
#: a box may reach over the border, but not be this many times as large as the picture
LARGEST_BOX = 2.0
#: OKS constant of joints of which nothing is known: within COCO's, eyes .025 to hips .107
UNKNOWN_SIGMA = 0.05
OUTSIDE = "a joint beyond the picture or in its corner (0, 0), which counts as not labelled"


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
    """Read a picture and cut out one person; ``meta["offset"]`` is where the cut-out lies in the upright picture."""
    image, turn = read_sized(file, person.size, exif)
    shape = (image.shape[0], image.shape[1])
    person = person.turned(turn, shape[::-1] if turn >= 5 else shape)
    window = Window.around(person.bbox, person.padding)
    x, y, width, height = person.bbox
    meta = meta | {"bbox": [x - window.left, y - window.top, width, height], "offset": [window.left, window.top]}
    return Pair(key, window.cut(image), window.points(person.points), meta)


def checked_person(
    points: NDArray[np.float64],
    box: Sequence[float],
    size: tuple[int, int],
    stated: tuple[int, int] | None,
    padding: float,
) -> Person:
    """A person whose joints and box fit the picture; joints beyond it count as not labelled.

    Args:
        points: (J, 3) x, y, visibility; changed in place.
        box: x, y, width, height.
        size: (height, width) of the picture.
        stated: the same as the labels' file says it, if it does.
        padding: see ``Person``.

    Raises:
        ValueError: if it is broken, with a reason that is the same for all that are broken in this way.
    """
    if not np.isfinite([*box, *points.ravel()]).all():
        raise ValueError("its box or a joint holds a number that is not finite")
    seen = points[np.isin(points[:, 2], (1, 2)), :2]
    corners = np.array([box[:2], [box[0] + box[2], box[1] + box[3]]])
    if normalised(np.concatenate([seen, corners]), size):
        raise ValueError("its joints lie within 0-1, as if divided by the picture's size: multiply them")
    if box[0] >= size[1] or box[1] >= size[0] or box[0] + box[2] <= 0 or box[1] + box[3] <= 0:
        raise ValueError("its box lies beside the picture")
    if max(box[2] / size[1], box[3] / size[0]) > LARGEST_BOX:
        raise ValueError("its box is much larger than the picture: of another size?")
    inside = ((points[:, :2] >= 0) & (points[:, :2] <= size[::-1])).all(axis=1) & (points[:, 2] < 3)
    inside &= points[:, :2].any(axis=1)  # exporters write (0, 0) for what is missing
    if not (inside & (points[:, 2] > 0)).any():
        raise ValueError("all its joints lie beyond the picture")
    points[~inside] = 0
    if not Window.around(box, padding).points(points)[:, 2].any():
        raise ValueError("none of its joints lies in its box")
    return Person(tuple(box), points, stated, padding)


class PersonDataModule(FewShotDataModule):
    """Persons with joints, each in a square crop around its box.

    Args:
        padding: side of the crop as a multiple of the box's longer side.
        radius: of a joint's disc, as a share of the canvas's shorter side; if not given, 0.08 on canvases below 128 px
            with up to 17 joints, where smaller discs are hardly learned (docs/results/defaults), else 0.04.
        sigmas: constants of OKS for each joint; if not given, COCO's for its 17 joints, 0.05 for others.
        swaps: pairs of joints, by index, that change places in mirror images; by ``flip_idx`` of YOLO or by their names
            if not given.
        exif: how labels of photos with an EXIF orientation were drawn, ``upright`` or ``stored``.
        **kwargs: see ``FewShotDataModule``.

    Raises:
        ValueError: if ``padding`` is below 1.
    """

    check_pool: ClassVar[bool] = False
    sparse: ClassVar[bool] = True

    def __init__(
        self,
        padding: float = 1.25,
        radius: float | None = None,
        sigmas: list[float] | None = None,
        swaps: list[list[int]] | None = None,
        exif: Exif = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if padding < 1:
            raise ValueError(f"padding must be at least 1 (the box itself), got {padding}")
        self.padding = padding
        self.radius = radius
        self.sigmas = sigmas
        self.swaps = swaps
        self.exif: Exif = exif
        self._joints: tuple[str, ...] = ()

    def make_codec(self) -> Codec[Any]:
        """One coloured disc a joint."""
        small = min(self.height, self.width) < SMALL_CANVAS and len(self._joints) <= MOST_LARGE
        return KeypointCodec(len(self._joints), self.radius or (LARGE_DISC if small else SMALL_DISC))

    def make_metric(self) -> TaskMetric:
        """PCK, OKS and COCO AP.

        Raises:
            ValueError: if there are not as many ``sigmas`` as joints.
        """
        count = len(self._joints)
        usual = COCO_SIGMAS if count == len(COCO_SIGMAS) else (UNKNOWN_SIGMA,) * count
        return PoseMetric(count, self.sigmas or usual)

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
