"""Kinds of trouble in exports that once passed silently, or cost the whole data set."""

import json
import os
import unicodedata

import numpy as np
import pytest

from tests.data.folders import picture, save
from tests.data.formats import pose_exports
from tests.data.formats.exports import SIZE, WRITERS, box_mask, coco, cvat, labelme, labelstudio, voc, yolo
from tests.data.formats.test_readers import change_json, overlap, ready
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.formats.finding import Pictures
from vdmfewshot.data.formats.splits import unique_keys
from vdmfewshot.data.keypoints import KeypointsDataModule


def people(root, **kwargs):
    data = KeypointsDataModule(str(root), height=48, width=48, **kwargs)
    data.setup("fit")
    return data


def reasons(data):
    return {item.source: item.reason for item in data.survey.left_out if item.reason != "a box without an outline"}


@pytest.mark.parametrize("name", list(WRITERS))
def test_labels_in_utf_16_are_read(tmp_path, name):
    for file in [f for f in sorted(WRITERS[name](tmp_path).rglob("*.*")) if f.suffix in (".json", ".xml", ".txt")]:
        head = '<?xml version="1.0" encoding="utf-16"?>' if file.suffix == ".xml" else ""
        file.write_text(head + file.read_text(), encoding="utf-16")
    assert all(overlap(pair.target, box_mask()) > 0.9 for pair in ready(tmp_path, category="dog").support)


def test_entities_are_found_in_utf_16(tmp_path):
    file = cvat(tmp_path) / "annotations.xml"
    head = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "dog">]>'
    file.write_text(head + file.read_text().replace('"dog"', '"&b;"'), encoding="utf-16")
    with pytest.raises(DataError, match="it declares entities"):
        ready(tmp_path, category="dog")


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        ("my dög.png", "my%20d%C3%B6g.png"),
        ("B0.PNG", r"C:\data\b0.png"),
        (unicodedata.normalize("NFD", "é.png"), "é.png"),
        ("b0.png", "b0.jpg"),
    ],
)
def test_pictures_are_found_in_any_spelling(tmp_path, stored, named):
    file = save(tmp_path / "images" / stored, picture(0))
    save(tmp_path / "images" / "other.png", picture(1))
    save(tmp_path / "masks" / "other.png", picture(2))
    pictures = Pictures(tmp_path)
    assert pictures.find(named) == file
    assert pictures.find("other.jpg").parent.name == "images"
    save(tmp_path / "more" / "b0.png", picture(3))
    save(tmp_path / "more" / "b0.bmp", picture(3))
    with pytest.raises(ValueError, match=r"no picture|may be any of"):
        pictures.find("b9.jpg")
    with pytest.raises(ValueError, match="may be any of"):
        Pictures(tmp_path).find("b0.tif")


def test_pictures_of_one_stem_keep_keys_of_their_own(tmp_path):
    files = [tmp_path / "a.png", tmp_path / "a.jpg", tmp_path / "b.png"]
    assert unique_keys(files, tmp_path) == ["a.png", "a.jpg", "b"]


@pytest.mark.parametrize(("write", "file"), [(voc, "Annotations/a1.xml"), (labelme, "a1.json")])
def test_labels_of_a_renamed_picture_are_left_out(tmp_path, write, file):
    """Both files would have drawn their things on a0."""
    file = write(tmp_path) / file
    file.write_text(file.read_text().replace("a1.png", "a0.png"))
    data = ready(tmp_path, category="dog")
    assert sorted(pair.key for pair in data.support) == ["a0", "a2"]
    assert "it names another picture than the one of its own name" in reasons(data)[file.name]


@pytest.mark.parametrize(("write", "file"), [(voc, "Annotations/a1.xml"), (labelme, "a1.json")])
def test_a_second_file_for_one_picture_is_left_out(tmp_path, write, file):
    file = write(tmp_path) / file
    file.rename(file.with_name("copy" + file.suffix))
    file.with_name("b" + file.suffix).write_text(file.with_name("copy" + file.suffix).read_text())
    data = ready(tmp_path, category="dog")
    assert len(data.support) == 3
    assert reasons(data) == {"copy" + file.suffix: "a second file of labels for one picture; keep one"}


def test_two_pictures_of_one_label_file_are_not_both_used(tmp_path):
    save(yolo(tmp_path) / "images" / "train" / "a0.bmp", picture(77, SIZE))
    data = ready(tmp_path, category="dog")
    assert len(data.support) == 3
    assert reasons(data) == {"a0.png": "two pictures have the name of one label file; keep one"}


def test_a_picture_that_two_lists_name_has_the_things_of_both(tmp_path):
    def twice(content):
        content["images"].append({**content["images"][0], "id": 9})
        content["annotations"][0]["image_id"] = 9

    change_json(coco(tmp_path) / "train" / "_annotations.coco.json", twice)
    data = ready(tmp_path, target="labels")
    assert sorted(pair.key for pair in data.support) == ["a0", "a1", "a2"]
    assert all(set(np.unique(pair.target)) == {0, 1, 2} for pair in data.support)


def test_annotations_of_no_category_are_no_class(tmp_path):
    file = coco(tmp_path) / "train" / "_annotations.coco.json"
    change_json(file, lambda content: content["annotations"][0].update(category_id=77))
    data = ready(tmp_path, target="labels")
    assert data.class_names == ("background", "cat", "dog")
    assert list(reasons(data).values()) == ["its category is not in the file"]


def test_one_number_that_is_none_costs_one_annotation(tmp_path):
    file = coco(tmp_path) / "train" / "_annotations.coco.json"
    file.write_text(file.read_text().replace("[[20, 10", "[[NaN, 10", 1))
    data = ready(tmp_path, category="dog")
    assert len(data.support) == 2
    assert list(reasons(data).values()) == ["its polygon holds a number that is not finite"]
    assert data.survey.unused == ["train/a0"]
    assert "is labelled there: 1 picture (train/a0)" in data.survey.notes()[1]


def test_a_damaged_file_beside_a_sound_one_is_named(tmp_path):
    (coco(tmp_path) / "test").mkdir()
    (tmp_path / "test" / "_annotations.coco.json").write_text('{"images": [')
    assert reasons(ready(tmp_path, category="dog")) == {
        "test/_annotations.coco.json": "not readable as JSON; export it again"
    }


def test_labels_that_are_not_understood_are_named(tmp_path):
    for name in ("images/a.png", "images/b.png"):
        save(tmp_path / name, picture(0))
    (tmp_path / "labels.json").write_text('{"a": 1}')
    (tmp_path / "more.json").write_text("")
    assert {i.source for i in ready(tmp_path).survey.left_out} == {"labels.json", "more.json"}
    (tmp_path / "images").rename(tmp_path / "train")
    with pytest.raises(DataError, match=r"labels\.json: labels in no format that is known"):
        ready(tmp_path)


def test_ellipses_of_cvat_are_turned(tmp_path):
    file = cvat(tmp_path) / "annotations.xml"
    ellipse = '<ellipse label="egg" cx="40" cy="30" rx="20" ry="4" rotation="90.00"/><points label="nose"'
    file.write_text(file.read_text().replace('<points label="nose"', ellipse))
    egg = ready(tmp_path, category="egg").support[0].target
    assert (np.flatnonzero(egg.any(axis=1))[[0, -1]].tolist(), np.flatnonzero(egg.any(axis=0))[[0, -1]].tolist()) == (
        [10, 49],
        [36, 43],
    )


def first_results(content, change):
    for task in content:
        change(task["annotations"][1]["result"][0])


def test_shapes_and_labels_of_label_studio_may_be_apart(tmp_path):
    def change(result):
        result["value"]["labels"] = result["value"].pop("polygonlabels")

    change_json(labelstudio(tmp_path) / "project.json", lambda content: first_results(content, change))
    assert all(overlap(pair.target, box_mask()) > 0.9 for pair in ready(tmp_path, category="dog").support)


def test_the_ground_truth_of_label_studio_is_preferred(tmp_path):
    def change(content):
        for task in content:
            other = json.loads(json.dumps(task["annotations"][1]))
            other["result"][0]["value"]["points"] = [[1, 1], [9, 1], [9, 9]]
            task["annotations"][1]["ground_truth"] = True
            task["annotations"].insert(0, other)

    change_json(labelstudio(tmp_path) / "project.json", change)
    data = ready(tmp_path, category="dog")
    assert all(overlap(pair.target, box_mask()) > 0.9 for pair in data.support)
    assert "another annotation of a picture" in reasons(data)["project.json: task 0"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_rotation": 90}, "its picture was turned in Label Studio"),
        ({"value": {"bitmasklabels": ["dog"], "imageDataURL": "data:,"}}, "bitmasks of Label Studio are not read"),
    ],
)
def test_what_label_studio_turned_or_packed_is_left_out(tmp_path, change, reason):
    change_json(labelstudio(tmp_path) / "project.json", lambda c: c[0]["annotations"][1]["result"][0].update(change))
    data = ready(tmp_path, category="dog")
    assert len(data.support) == 2
    assert reason in reasons(data)["project.json: task 0, result 0"]


@pytest.mark.parametrize("write", [cvat, labelme])
def test_masks_need_no_stated_size(tmp_path, write):
    for file in [*write(tmp_path).rglob("*.xml"), *tmp_path.rglob("*.json")]:
        text = file.read_text().replace('width="80" height="60"', "")
        file.write_text(text.replace('"imageHeight": 60', '"x": 60').replace('"imageWidth": 80', '"y": 80'))
    assert all(overlap(pair.target, box_mask()) > 0.9 for pair in ready(tmp_path, category="dog").support)


def test_turned_rectangles_of_labelme_and_pictures_within(tmp_path):
    turned = {"shape_type": "oriented_rectangle", "points": [[20, 10], [50, 10], [50, 30], [20, 30]]}
    change_json(labelme(tmp_path) / "a0.json", lambda content: content["shapes"][0].update(turned))
    assert all(overlap(pair.target, box_mask()) > 0.9 for pair in ready(tmp_path, category="dog").support)
    (tmp_path / "a0.png").unlink()
    change_json(tmp_path / "a0.json", lambda content: content.update(imageData="x"))
    with pytest.raises(DataError, match="the file itself holds it"):
        ready(tmp_path, category="dog")


def test_a_mask_is_no_picture_of_its_labels(tmp_path):
    (voc(tmp_path) / "JPEGImages" / "a1.png").unlink()
    save(tmp_path / "more" / "SegmentationClass" / "a1.png", box_mask().astype(np.uint8))
    with pytest.raises(DataError, match=r"a1\.xml: no picture 'a1\.png'"):
        ready(tmp_path, category="dog", format="voc")


def test_links_are_followed_and_dead_ones_named(tmp_path):
    for i in range(3):
        save(tmp_path / "far" / "in" / f"a{i}.png", picture(i))
        save(tmp_path / "far" / "out" / f"a{i}.png", 255 - picture(i))
    for side, far in (("input", "in"), ("target", "out")):
        (tmp_path / "data" / side).mkdir(parents=True)
        os.symlink(tmp_path / "far" / far, tmp_path / "data" / side / "site")
        os.symlink(tmp_path / "data" / side, tmp_path / "data" / side / "again")
    assert len(ready(tmp_path / "data", target="image").support) == 3
    os.symlink(tmp_path / "nowhere.png", tmp_path / "data" / "input" / "b.png")
    with pytest.raises(DataError, match=r"b\.png: a link to nothing"):
        ready(tmp_path / "data", target="image")


def test_a_person_without_joints_in_the_box_is_left_out(tmp_path):
    file = pose_exports.coco(tmp_path) / "people.json"
    change_json(file, lambda content: content["annotations"][0].update(bbox=[60, 40, 10, 10]))
    assert reasons(people(tmp_path)) == {"people.json: annotation 0": "none of its joints lies in its box"}


def test_a_joint_in_the_corner_is_not_labelled(tmp_path):
    file = pose_exports.coco(tmp_path) / "people.json"
    change_json(
        file, lambda c: c["annotations"][0].update(keypoints=[20, 10, 2, 26, 22, 2, 0, 0, 2], bbox=[0, 0, 40, 40])
    )
    data = people(tmp_path)
    (pair,) = [pair for pair in data.support if pair.key == "a0-0"]
    assert pair.target[:, 2].tolist() == [2, 2, 0]
    assert "in its corner (0, 0)" in reasons(data)["people.json: annotation 0"]


def test_joints_of_one_name_are_refused(tmp_path):
    file = pose_exports.coco(tmp_path) / "people.json"
    change_json(file, lambda content: content["categories"][0].update(keypoints=["a", "a", "b"]))
    with pytest.raises(DataError, match=r"category 'person': a stands for several joints"):
        people(tmp_path)
    yaml = pose_exports.yolo(tmp_path / "yolo") / "data.yaml"
    yaml.write_text(yaml.read_text().replace("left_hand", "nose"))
    with pytest.raises(DataError, match=r"kpt_names of data\.yaml: nose stands for several joints"):
        people(tmp_path / "yolo")


def test_joints_on_pictures_that_label_studio_turned_are_left_out(tmp_path):
    def change(content):
        for result in content[0]["annotations"][0]["result"]:
            result["image_rotation"] = 90

    change_json(pose_exports.labelstudio(tmp_path) / "export.json", change)
    data = people(tmp_path)
    assert len(data.support) == 2
    assert all("turned in Label Studio" in reason for reason in reasons(data).values())
