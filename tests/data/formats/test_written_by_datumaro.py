"""Exports by datumaro's own writers, which CVAT's are, read back: areas and joints.

It pins older releases of pandas and OpenCV, and so is no part of the extra ``dev``: ``pip install datumaro`` elsewhere.
"""

import numpy as np
import pytest

from tests.data.folders import picture
from tests.data.formats.exports import SIZE, box_mask
from tests.data.formats.pose_exports import NAMES, PEOPLE
from tests.data.formats.test_readers import overlap, ready
from vdmfewshot.data.keypoints import KeypointsDataModule

datumaro = pytest.importorskip("datumaro", reason="needs datumaro", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")

POLYGON = [20, 10, 50, 10, 50, 30, 20, 30]
THINGS = {
    "polygon": lambda: datumaro.Polygon(POLYGON, label=1, id=1, group=1),
    "mask": lambda: datumaro.Mask(box_mask(), label=1, id=1, group=1),
    "box": lambda: datumaro.Bbox(20, 10, 30, 20, label=1, id=1, group=1),
}
#: what each writer keeps
KEPT = {
    "coco": ("polygon", "mask", "box"),
    "coco_instances": ("polygon", "mask", "box"),
    "cvat": ("polygon", "mask", "box"),
    "label_me": ("polygon", "box"),
    "voc": ("mask", "box"),
    "voc_segmentation": ("mask",),
    "voc_instance_segmentation": ("mask", "box"),
    "yolo": ("box",),
    "yolo_ultralytics": ("box",),
    "kitti_segmentation": ("mask",),
}


def export(root, name, annotations, categories):
    from datumaro.components.media import Image

    items = [
        datumaro.DatasetItem(
            f"{part}{i}", subset=part, media=Image.from_numpy(picture(i, SIZE)), annotations=annotations()
        )
        for i, part in enumerate(("train", "train", "val"))
    ]
    datumaro.Dataset.from_iterable(items, categories=categories).export(str(root), name, save_media=True)
    return root


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in KEPT.items() for kind in kinds])
def test_areas(tmp_path, name, kind):
    data = ready(export(tmp_path, name, lambda: [THINGS[kind]()], ["cat", "dog"]), category="dog")
    pairs = [*data.support, *data.queries("validate")]
    assert len(pairs) == 3
    assert all(overlap(pair.target.astype(bool), box_mask()) == 1 for pair in pairs)


def test_masks_of_cityscapes_by_a_pattern_and_a_map(tmp_path):
    root = export(tmp_path, "cityscapes", lambda: [THINGS["mask"]()], ["cat", "dog"])
    pattern = "{stem}_leftImg8bit -> {stem}_gtFine_labelIds"
    data = ready(root, pattern=pattern, classes={"else": 0, "dog": 2})
    assert all(overlap(pair.target.astype(bool), box_mask()) == 1 for pair in data.support)


@pytest.mark.parametrize("name", ["coco", "coco_person_keypoints", "cvat"])
def test_joints(tmp_path, name):
    def people():
        for group, (joints, box) in enumerate(PEOPLE, 1):
            flat = [v for joint in NAMES for v in joints.get(joint, (0, 0))]
            seen = [2 if joint in joints else 0 for joint in NAMES]
            yield datumaro.Points(flat, seen, label=0, id=group, group=group)
            yield datumaro.Bbox(*box, label=0, id=group, group=group)

    categories = {
        datumaro.AnnotationType.label: datumaro.LabelCategories.from_iterable(["person"]),
        datumaro.AnnotationType.points: datumaro.PointsCategories.from_iterable([(0, NAMES, {(0, 1)})]),
    }
    root = export(tmp_path, name, lambda: list(people()), categories)
    data = KeypointsDataModule(str(root), height=48, width=48)
    data.setup("fit")
    found = {pair.key: pair for pair in [*data.support, *data.queries("validate")]}
    assert len(found) == 6
    for key, pair in found.items():
        joints, box = PEOPLE[int(key[-1])]
        place = np.array([*pair.meta["offset"], 0])
        for joint, (x, y, seen) in zip(NAMES, (pair.target + place).tolist(), strict=True):
            assert (seen > 0) == (joint in joints)
            assert not seen or (x, y) == joints[joint]
        assert np.allclose(pair.meta["bbox"] + np.array([*pair.meta["offset"], 0, 0]), box)
