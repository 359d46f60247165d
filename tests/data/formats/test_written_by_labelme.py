"""Files by labelme's own writer, read back and compared with its own drawing of them.

It needs Qt, and so is no part of the extra ``dev``: ``pip install labelme`` elsewhere.
"""

import cv2
import numpy as np
import pytest

from tests.data.folders import picture, save
from tests.data.formats.pose_exports import NAMES, PEOPLE
from tests.data.formats.test_readers import ready
from vdmfewshot.data.keypoints import KeypointsDataModule

labelme = pytest.importorskip("labelme", reason="needs labelme", exc_type=ImportError)

SIZE = (120, 160)
SHAPES = {
    "polygon": [[20.5, 30], [130, 40], [90, 110], [30.25, 80]],
    "rectangle": [[120, 100], [30, 20]],
    "circle": [[80, 60], [80, 20]],
    "oriented_rectangle": [[60, 10], [150, 60], [120, 110], [30, 60]],
    "mask": [[20, 30], [99, 89]],
}


def written(root, shapes, count=3):
    for i in range(count):
        file = save(root / f"a{i}.png", picture(i, SIZE))
        labelme.LabelFile().save(
            str(root / f"a{i}.json"),
            shapes,
            file.name,
            *SIZE,
            file.read_bytes() if i % 2 else None,
            flags={"done": True},
        )
    return root


def shape(kind, points, label="dog", group=None, **more):
    known = {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}, "description": ""}
    return known | more


@pytest.mark.parametrize("kind", list(SHAPES))
def test_areas(tmp_path, kind):
    more, drawn = {}, {}
    if kind == "mask":
        raster = np.random.default_rng(0).random((60, 80)) < 0.5
        more, drawn = {"mask": labelme.utils.img_arr_to_b64(raster.astype(np.uint8))}, {"mask": raster}
    item = shape(kind, SHAPES[kind], **more)
    labels, _ = labelme.utils.shapes_to_label(SIZE, [item | drawn], {"dog": 1})
    theirs = (labels > 0).astype(np.uint8)
    for pair in ready(written(tmp_path, [item])).support:
        if kind == "mask":
            assert np.array_equal(pair.target, theirs > 0)
        else:  # two ways of drawing, which round borders differently, by a pixel at most
            ring = np.ones((3, 3), np.uint8)
            assert (pair.target <= cv2.dilate(theirs, ring)).all()
            assert (pair.target >= cv2.erode(theirs, ring, borderValue=0)).all()


def test_joints(tmp_path):
    shapes = []
    for group, (joints, (x, y, w, h)) in enumerate(PEOPLE):
        shapes.append(shape("rectangle", [[x, y], [x + w, y + h]], "person", group))
        shapes += [shape("point", [list(place)], name, group) for name, place in joints.items()]
    data = KeypointsDataModule(str(written(tmp_path, shapes, 2)), height=48, width=48)
    data.setup("fit")
    assert len(data.support) == 4
    for pair in data.support:
        joints, _ = PEOPLE[int(pair.key[-1])]
        places = (pair.target[:, :2] + pair.meta["offset"]).tolist()
        found = {name: tuple(p) for name, p, v in zip(data._joints, places, pair.target[:, 2], strict=True) if v}
        assert found == joints
    assert set(data._joints) == set(NAMES)
