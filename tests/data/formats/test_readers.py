"""Exports of labelling tools: what is drawn, what is left out, what is refused."""

import json

import numpy as np
import pytest

from tests.data.folders import picture, save
from tests.data.formats.exports import CAT, SIZE, WRITERS, box_mask, coco, cvat, labelme, labelstudio, voc, yolo
from vdmfewshot.data.examples import DataError
from vdmfewshot.data.formats.detect import find_format
from vdmfewshot.data.formats.labelstudio import brush
from vdmfewshot.data.pairs import PairsDataModule


def ready(root, **kwargs):
    data = PairsDataModule(str(root), **({"target": "mask", "height": 32, "width": 32} | kwargs))
    data.setup("fit")
    return data


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("name", list(WRITERS))
def test_every_format_is_recognised_and_drawn(tmp_path, name):
    root = WRITERS[name](tmp_path)
    assert find_format(root) == name
    for arguments in ({}, {"format": name}):
        data = ready(root, category="dog", **arguments)
        assert len(data.support) == 3
        for pair in data.support:
            assert pair.image.shape == (*SIZE, 3)
            assert overlap(pair.target, box_mask()) > 0.9
        assert data.class_names == ("background", "dog")


@pytest.mark.parametrize("name", ["labelme", "cvat", "coco"])
def test_all_classes_are_one_label_map(tmp_path, name):
    data = ready(WRITERS[name](tmp_path), target="labels")
    assert data.class_names == ("background", "cat", "dog")
    assert data.codec.spec()["num_classes"] == 3
    for pair in data.support:
        assert overlap(pair.target == 2, box_mask()) > 0.9
        assert overlap(pair.target == 1, box_mask(CAT)) > 0.9
    assert ready(tmp_path, target="labels", category=["dog"]).class_names == ("background", "dog")


@pytest.mark.parametrize("name", ["yolo", "voc", "labelstudio"])
def test_a_box_is_no_mask_where_other_things_have_outlines(tmp_path, name):
    (line,) = ready(WRITERS[name](tmp_path), target="labels").survey.notes()
    assert "× a box without an outline" in line


def test_boxes_alone_are_drawn_filled(tmp_path):
    yolo(tmp_path)
    for file in (tmp_path / "labels").rglob("*.txt"):
        file.write_text(file.read_text().splitlines()[1])
    data = ready(tmp_path)
    assert all(np.array_equal(pair.target, box_mask(CAT)) for pair in data.support)
    assert [len(data.support), len(data.queries("validate"))] == [3, 3]


def test_a_mask_of_several_classes_asks_which(tmp_path):
    labelme(tmp_path)
    with pytest.raises(DataError, match=r"a mask is of one class, there are cat, dog: --data\.category 'cat'"):
        ready(tmp_path)
    with pytest.raises(DataError, match=r"no class 'dgo'; there are cat, dog; did you mean 'dog'\?"):
        ready(tmp_path, category="dgo")
    with pytest.raises(DataError, match=r"labels in the format 'labelme' are no pictures: --data\.target mask"):
        ready(tmp_path, target="image")
    both = ready(tmp_path, category=["dog", "cat"]).support[0].target
    assert overlap(both, box_mask() | box_mask(CAT)) > 0.9


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_missing_picture_is_named(tmp_path, name):
    root = WRITERS[name](tmp_path)
    for file in tmp_path.rglob("a1.png"):
        file.unlink()
    if name == "yolo":  # a label without its picture says nothing
        assert len(ready(root, category="dog").support) == 2
        return
    with pytest.raises(DataError, match=r"a1\.png"):
        ready(root, category="dog")


def change_json(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


BROKEN = {
    "labelme: no points": (labelme, "a0.json", lambda c: c["shapes"][0].pop("points"), "no label or no points"),
    "labelme: words": (labelme, "a0.json", lambda c: c["shapes"][1].update(points=[["a", 2]] * 3), "not pairs"),
    "labelme: line": (
        labelme,
        "a0.json",
        lambda c: c["shapes"][1].update(shape_type="line"),
        "of the kind line has no area",
    ),
    "labelme: mask": (labelme, "a0.json", lambda c: c["shapes"][0].update(mask="x"), "not a PNG picture"),
    "labelme: far": (labelme, "a0.json", lambda c: c["shapes"][1].update(points=[[1, 2], [3e9, 4], [5, 6]]), "outside"),
    "labelstudio: short": (
        labelstudio,
        "project.json",
        lambda c: c[0]["annotations"][1]["result"][0]["value"].update(points=[[1, 2]]),
        "fewer than three corners",
    ),
    "labelstudio: size": (
        labelstudio,
        "project.json",
        lambda c: c[0]["annotations"][1]["result"][0].update(original_width=800),
        "drawn on 800 x 60 pixels",
    ),
    "labelstudio: nothing": (
        labelstudio,
        "project.json",
        lambda c: c[0]["annotations"][1]["result"][0]["value"].pop("points"),
        "it lacks what a result of polygonlabels has",
    ),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_one_bad_thing_is_left_out_and_named(tmp_path, name):
    write, file, change, reason = BROKEN[name]
    change_json(write(tmp_path) / file, change)
    studio = name.startswith("labelstudio")
    data = ready(tmp_path, category="dog" if studio else ["dog", "cat"])
    assert len(data.support) == 3 - studio
    assert any(reason in item.reason for item in data.survey.left_out)
    with pytest.raises(DataError, match=reason):
        ready(tmp_path, category="dog", strict=True)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("1 0.25", "x 0.25", "not a class (a whole number)"),
        ("1 0.25", "1.5 0.25", "not a class (a whole number)"),
        ("1 0.25", "7 0.25", "class 7 is not among the 2 classes"),
        ("1 0.25", "1 25", "must be shares of the picture's size"),
        ("1 0.25", "1", "in pairs"),
        ("1 0.25", "1 nan", "must be shares"),
    ],
)
def test_one_bad_line_of_yolo_is_left_out(tmp_path, old, new, reason):
    yolo(tmp_path)
    file = tmp_path / "labels" / "train" / "a1.txt"
    file.write_text(file.read_text().replace(old, new, 1))
    data = ready(tmp_path, category="dog")
    assert len(data.support) == 2
    (item,) = [item for item in data.survey.left_out if item.reason != "a box without an outline"]
    assert item.source == "a1.txt: line 1"
    assert reason in item.reason


@pytest.mark.parametrize(
    ("write", "old", "new", "reason"),
    [
        (voc, "<x2>51", "<x2>q", "polygon x2 is not a number"),
        (voc, "<name>dog</name>", "", "it has no name"),
        (voc, "<x2>51", "<x2>51000", "outside the picture"),
        (cvat, "0, 600", "0, 599", "does not add up to its box"),
        (cvat, 'left="20"', 'left="70"', "its mask lies outside the picture"),
        (cvat, 'label="dog"', "", "it has no label"),
    ],
)
def test_one_bad_thing_of_xml_is_left_out(tmp_path, write, old, new, reason):
    write(tmp_path)
    file = sorted(tmp_path.rglob("*.xml"))[0]
    file.write_text(file.read_text().replace(old, new, 1))
    data = ready(tmp_path, category="dog")
    assert len(data.support) == 2
    assert any(reason in item.reason for item in data.survey.left_out)


@pytest.mark.parametrize("text", ["<annotation", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'])
def test_xml_that_is_none_or_declares_entities_is_left_out(tmp_path, text):
    files = sorted(voc(tmp_path).rglob("*.xml"))
    files[0].write_text(text)
    data = ready(tmp_path, category="dog", format="voc")
    assert len(data.support) == 2
    assert data.survey.left_out[0].source == "a0.xml"
    for file in files:
        file.write_text(text)
    with pytest.raises(
        DataError, match=r"no labelled pictures in the format 'voc'; left out 3: 3 × not readable as XML"
    ):
        ready(tmp_path, category="dog", format="voc")


def test_resized_pictures_of_an_export_are_refused(tmp_path):
    save(cvat(tmp_path) / "images" / "a1.png", picture(1, (120, 160)))
    with pytest.raises(DataError, match=r"a1\.png: 160 x 120 pixels, the annotation file says 80 x 60"):
        ready(tmp_path, category="dog")


def test_more_classes_than_a_clip_holds_ask_which(tmp_path):
    labelme(tmp_path)
    shapes = [{"label": f"c{i}", "points": [[i, 1], [i + 5, 1], [i + 5, 9]], "shape_type": "polygon"} for i in range(9)]
    change_json(tmp_path / "a0.json", lambda content: content["shapes"].extend(shapes))
    with pytest.raises(DataError, match=r"11 classes, and one clip holds 7 .* --data\.category '\[c0, c1, c2\]'"):
        ready(tmp_path, target="labels")
    assert len(ready(tmp_path, target="labels", category=["cat", "c8"]).class_names) == 3


def test_a_video_of_cvat_says_what_to_export(tmp_path):
    pictures = cvat(tmp_path) / "annotations.xml"
    pictures.write_text("<annotations><track id='0' label='dog'></track></annotations>")
    with pytest.raises(DataError, match="export it as 'CVAT for images'"):
        ready(tmp_path)


def encoded(mask):
    """A brush as Label Studio writes it: every run not longer than 16 pixels, each value written once."""
    values = np.repeat(mask.ravel().astype(int) * 255, 4)
    bits = f"{values.size:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    start = 0
    for end in [*(np.flatnonzero(np.diff(values)) + 1).tolist(), values.size]:
        bits += f"1{3:02b}{end - start - 1:016b}{values[start]:08b}"
        start = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def test_brushes_of_label_studio(tmp_path):
    code = encoded(box_mask())
    assert np.array_equal(brush(code, SIZE), box_mask())
    for broken, reason in (
        (code[:9], "ends too early"),
        ([300], "no string of bytes"),
        (encoded(box_mask()[1:]), "size"),
    ):
        with pytest.raises(ValueError, match=reason):
            brush(broken, SIZE)
    value = {"format": "rle", "rle": code, "brushlabels": ["dog"]}
    labelstudio(tmp_path)
    change_json(tmp_path / "project.json", lambda c: [t["annotations"][1]["result"][0].update(value=value) for t in c])
    assert all(np.array_equal(pair.target, box_mask()) for pair in ready(tmp_path, category="dog").support)


def test_coco_parts_by_folder(tmp_path):
    coco(tmp_path)
    (tmp_path / "test").mkdir()
    for i in range(2):
        save(tmp_path / "test" / f"b{i}.png", picture(50 + i, SIZE))
    content = json.loads((tmp_path / "train" / "_annotations.coco.json").read_text())
    content["images"] = [record | {"file_name": f"b{record['id']}.png"} for record in content["images"][:2]]
    (tmp_path / "test" / "_annotations.coco.json").write_text(json.dumps(content))
    data = ready(tmp_path, category="dog")
    assert [len(data.support), len(data.queries("test"))] == [3, 2]
    assert len(data.survey.left_out) == 2


def test_masks_of_voc_are_read_with_its_label_map(tmp_path):
    voc(tmp_path)
    for i in range(2):
        save(tmp_path / "SegmentationClass" / f"a{i}.png", box_mask()[..., None] * np.array([0, 128, 0], np.uint8))
    names = ["background", *(f"c{i}" for i in range(12)), "dog"]
    colours = ["0,0,0", *(f"{i + 1},7,9" for i in range(12)), "0,128,0"]
    table = "\n".join(f"{name}:{colour}::" for name, colour in zip(names, colours, strict=True))
    (tmp_path / "labelmap.txt").write_text(table)
    data = ready(tmp_path, category="dog")
    assert len(data.support) == 2
    assert all(np.array_equal(pair.target, box_mask()) for pair in data.support)
    with pytest.raises(ValueError, match=r"names 14 classes; one clip holds 2 to 8"):
        ready(tmp_path, target="labels")
