"""Joints from every labelling tool become the same people, and one bad person costs no other."""

import json

import numpy as np
import pytest

from tests.data.formats.pose_exports import EXPORTS, NAMES, PEOPLE, labelme, pictures, yolo
from vdmfewshot.callbacks.evaluation import decoders
from vdmfewshot.callbacks.predictions import save_query
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.keypoints import KeypointsDataModule


def ready(root, **kwargs):
    data = KeypointsDataModule(str(root), height=32, width=32, **{"shots": 2, **kwargs})
    data.setup()
    return data


def everybody(data):
    return sorted([*data.support, *data.queries("test")], key=lambda pair: pair.key)


def in_picture(pair):
    """Joints in pixels of the whole picture, 0 where not labelled."""
    seen = pair.target[:, 2:] > 0
    return np.where(seen, pair.target[:, :2] + pair.meta["offset"], 0)


@pytest.mark.parametrize("kind", EXPORTS)
@pytest.mark.parametrize("told", [False, True])
def test_the_same_people_are_read_from_every_format(tmp_path, kind, told):
    data = ready(EXPORTS[kind](tmp_path), format=kind if told else "auto")
    assert data._joints == tuple(NAMES)
    people = everybody(data)
    assert [pair.key for pair in people] == ["a0-0", "a0-1", "a1-0", "a1-1"]
    for pair, (joints, box) in zip(people, PEOPLE * 2, strict=True):
        expected = [joints.get(name, (0, 0)) for name in NAMES]
        assert np.allclose(in_picture(pair), expected, atol=1e-3), kind
        assert (pair.target[:, 2] > 0).tolist() == [name in joints for name in NAMES]
        if kind != "cvat":
            assert np.allclose(pair.meta["bbox"][:2] + np.array(pair.meta["offset"]), box[:2], atol=1e-3)
            assert pair.meta["area"] == pytest.approx(box[2] * box[3], abs=1e-2)
    assert data.survey.left_out == []
    assert len({pair.meta["image"] for pair in people}) == 2


def test_without_a_box_the_joints_are_the_box(tmp_path):
    pair = everybody(ready(EXPORTS["cvat"](tmp_path)))[0]
    assert pair.meta["bbox"][2:] == [14, 14]


def test_yolo_without_visibility_takes_the_corner_for_not_labelled(tmp_path):
    people = everybody(ready(yolo(tmp_path, values=2)))
    assert (people[1].target[:, 2] > 0).tolist() == [True, True, False]


def test_yolo_says_which_joints_change_places(tmp_path):
    root = yolo(tmp_path)
    file = root / "data.yaml"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if "kpt_names" not in line))
    data = ready(root, variants=2)
    assert data._joints == ("0", "1", "2")
    pair = next(pair for pair in data.support if pair.key.endswith("-0"))
    mirrored = data.augment(pair, 1)
    width = pair.image.shape[1]
    assert np.allclose(mirrored.target[1, 0], width - pair.target[2, 0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda shapes: shapes[1].update(points=[[300, 300]]), "a joint beyond the picture"),
        (lambda shapes: shapes[1].update(points="x"), "lacks a label or points"),
        (lambda shapes: shapes[2].update(label="nose"), "twice: give every person a group"),
        (lambda shapes: [shape.update(points=[[0.2, 0.3], [0.4, 0.5]][: len(shape["points"])]) for shape in shapes[:4]],
         "within 0-1"),
        (lambda shapes: [shape.update(points=[[900, 900]]) for shape in shapes[1:4]], "all its joints lie beyond"),
    ],
)  # fmt: skip
def test_one_bad_person_or_joint_is_left_out_and_named(tmp_path, change, reason):
    root = labelme(tmp_path)
    content = json.loads((root / "a0.json").read_text())
    change(content["shapes"])
    (root / "a0.json").write_text(json.dumps(content))
    data = ready(root)
    assert any(reason in item.reason and "a0.json: shape" in item.source for item in data.survey.left_out)
    assert {pair.key for pair in everybody(data)} >= {"a0-1", "a1-0", "a1-1"}
    with pytest.raises(DataError, match="without --data.strict true"):
        ready(root, strict=True)


def test_joints_without_groups_are_one_person(tmp_path):
    root = labelme(tmp_path)
    for file in root.glob("*.json"):
        content = json.loads(file.read_text())
        content["shapes"] = [shape | {"group_id": None} for shape in content["shapes"][1:4]]
        file.write_text(json.dumps(content))
    people = everybody(ready(root, shots=1))
    assert [pair.key for pair in people] == ["a0-0", "a1-0"]
    assert np.allclose(in_picture(people[0])[0], PEOPLE[0][0]["nose"])


def test_what_has_no_joints_is_refused_in_words(tmp_path):
    pictures(tmp_path)
    with pytest.raises(DataError, match="joints are read from coco, yolo, labelme, cvat, labelstudio; this is none"):
        ready(tmp_path)
    root = yolo(tmp_path / "yolo")
    (root / "data.yaml").write_text("names: [person]\n")
    with pytest.raises(DataError, match=r"data.yaml must have kpt_shape"):
        ready(root)
    with pytest.raises(DataError, match=r"no joints of 'persn'; there are person; did you mean 'person'"):
        ready(labelme(tmp_path / "labelme"), category="persn")


def test_answers_are_in_pixels_of_the_whole_picture(tmp_path):
    data = ready(labelme(tmp_path))
    pair = everybody(data)[1]
    frame = data.codec.encode(pair.target, data.box(pair)).astype(np.float32)
    row = save_query(tmp_path / "out", data, pair, [frame], decoders(data, 1, 1))
    found = np.array(row["attempts"][0]["label"])
    assert np.allclose(found[:2, :2], [PEOPLE[1][0]["nose"], PEOPLE[1][0]["left_hand"]], atol=1.5)
    assert found[2].tolist() == [0, 0, 0]


def test_other_skeletons_are_scored_with_a_constant_for_all_joints(tmp_path):
    metric = ready(labelme(tmp_path)).make_metric()
    assert metric.sigmas == (0.05,) * 3
