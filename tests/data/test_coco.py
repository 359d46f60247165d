import json
import re

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from tests.data.coco_files import SIZE, dogs, instances, write
from tests.data.folders import picture, save
from vdmfewshot.data.coco_masks import instances_mask
from vdmfewshot.data.examples import DataError


def test_instances_are_joined_as_pycocotools_draws_them(tmp_path):
    data = dogs(write(tmp_path, instances(tmp_path)), shots=1)
    coco = COCO(str(tmp_path / "ann.json"))
    pairs = [*data.support, *data.queries("test")]
    assert sorted(pair.meta["image_id"] for pair in pairs) == [1, 2, 3, 4]
    for pair in pairs:
        found = coco.loadAnns(coco.getAnnIds(imgIds=[pair.meta["image_id"]], catIds=[18]))
        expected = np.any([coco.annToMask(annotation) for annotation in found], axis=0)
        assert pair.target.dtype == bool
        assert np.array_equal(pair.target, expected)
        assert 0 < expected.mean() < 1


def test_a_test_file_of_its_own(tmp_path):
    write(tmp_path, instances(tmp_path, 2))
    (tmp_path / "more").mkdir()
    content = instances(tmp_path / "more", 3)
    for record in content["images"][:3]:
        save(tmp_path / "more" / "images" / record["file_name"], picture(50 + record["id"], SIZE))
    write(tmp_path / "more", content)
    data = dogs(
        tmp_path, shots=1, test_images=str(tmp_path / "more/images"), test_annotations=str(tmp_path / "more/ann.json")
    )
    assert len(data.support) == 1
    assert len(data.queries("test")) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["images"][0].update(height=41), "the annotation file says"),
        (lambda c: c["images"][0].update(file_name="../ann.json"), "must lie within"),
        (lambda c: c["images"][0].update(file_name="gone.png"), "no such file"),
        (lambda c: c["images"][0].pop("height"), "height"),
        (lambda c: c["images"].append(c["images"][0] | {"file_name": "2.png"}), "image id 1 stands for 1.png and for"),
        (
            lambda c: [a.pop("image_id") for a in c["annotations"]],
            "no picture shows the category 'dog'.*lacks 'image_id'",
        ),
        (lambda c: c.pop("categories"), "missing: categories"),
        (lambda c: c["annotations"].append(3), r"annotations\[16\] is not a record"),
        (lambda c: c["categories"][1].update(name="wolf"), "no category 'dog'; there are cat, wolf"),
    ],
)
def test_broken_instance_files_are_explained(tmp_path, change, reason):
    content = instances(tmp_path)
    change(content)
    with pytest.raises(DataError, match=reason) as caught:
        dogs(write(tmp_path, content))
    assert "ann.json" in str(caught.value)


@pytest.mark.parametrize("text", ['{"images": [NaN]}', "", "[]", "{"])
def test_files_that_are_no_coco_json_are_refused(tmp_path, text):
    instances(tmp_path)
    with pytest.raises(DataError, match=r"ann\.json: not"):
        dogs(write(tmp_path, text))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.update(segmentation=7), "neither"),
        (lambda a: a.update(segmentation=None), "no polygon"),
        (lambda a: a.update(segmentation=[]), "no polygon"),
        (lambda a: a.pop("segmentation"), "no polygon"),
        (lambda a: a.update(segmentation=[[1, 2, 3, 4]]), "fewer than three corners"),
        (lambda a: a.update(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "odd number"),
        (lambda a: a.update(segmentation=[[1, 2, "3", 4, 5, 6]]), "not a list of numbers"),
        (lambda a: a.update(segmentation=[[1, 2, 1e999, 4, 5, 6]]), "not finite"),
        (lambda a: a.update(segmentation=[[1, 2, 2e9, 4, 5, 6]]), "outside the picture"),
        (lambda a: a.update(segmentation=[[0.1, 0.2, 0.9, 0.2, 0.5, 0.6]]), "within 0-1"),
        (lambda a: a.update(segmentation={"size": [9, 9], "counts": [81]}), r"of size \[9, 9\]"),
        (lambda a: a.update(segmentation={"size": list(SIZE), "counts": [300]}), "does not add up"),
        (lambda a: a.update(segmentation={"size": list(SIZE), "counts": []}), "does not add up"),
        (lambda a: a.update(segmentation={"size": list(SIZE), "counts": [-5, 2005]}), "does not add up"),
        (lambda a: a.update(segmentation={"size": list(SIZE), "counts": "52203"}), "does not add up|no counts"),
        (lambda a: a.update(segmentation={"size": list(SIZE), "counts": "~~"}), "no counts"),
        (lambda a: a.update(segmentation={"size": list(SIZE)}), "no counts"),
        (lambda a: a.update(image_id=77), "its image 77 is not in the file"),
        (lambda a: a.pop("image_id"), "lacks 'image_id'"),
    ],
)
def test_one_bad_segmentation_is_left_out_and_named(tmp_path, change, reason):
    content = instances(tmp_path)
    change(content["annotations"][0])
    data = dogs(write(tmp_path, json.dumps(content).replace("Infinity", "1e999")))
    assert len(data.support) == 4
    (left_out,) = data.survey.left_out
    assert left_out.source == "ann.json: annotation 1"
    assert re.search(reason, left_out.reason)
    first = next(pair for pair in data.support if pair.meta["image_id"] == 1)
    rest = [run_length_mask(a) for a in content["annotations"][1:3]]
    assert np.array_equal(first.target, np.any(rest, axis=0))
    with pytest.raises(DataError, match=reason):
        dogs(tmp_path, strict=True)


def run_length_mask(annotation):
    code = annotation["segmentation"]
    packed = coco_mask.frPyObjects(code, *SIZE) if isinstance(code["counts"], list) else code
    return coco_mask.decode(packed) > 0


def test_packed_codes_of_any_mask_are_legal():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        size = tuple(rng.integers(1, 90, 2).tolist())
        mask = rng.random(size) < rng.choice([0.0, 0.02, 0.5, 1.0])
        code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        text = {"size": code["size"], "counts": code["counts"].decode()}
        assert np.array_equal(instances_mask([text], size), mask)


def test_a_polygon_without_its_outer_list_is_read(tmp_path):
    content = instances(tmp_path)
    before = {pair.key: pair.target for pair in dogs(write(tmp_path, content)).support}
    content["annotations"][0]["segmentation"] = content["annotations"][0]["segmentation"][0]
    assert all(np.array_equal(pair.target, before[pair.key]) for pair in dogs(write(tmp_path, content)).support)


def test_annotation_ids_may_restart_and_image_ids_be_text(tmp_path):
    content = instances(tmp_path)
    before = {pair.meta["image_id"]: pair.target for pair in dogs(write(tmp_path, content)).support}
    for index, annotation in enumerate(content["annotations"]):
        annotation["id"] = index % 4
    for record in content["images"]:
        record["id"] = f"{record['id']:03d}"
    data = dogs(write(tmp_path, "\ufeff" + json.dumps(content)))
    assert len(data.support) == 4
    assert all(np.array_equal(pair.target, before[pair.meta["image_id"]]) for pair in data.support)
    assert not np.array_equal(before[1], before[2])


def test_two_categories_of_one_name_are_one(tmp_path):
    content = instances(tmp_path)
    content["categories"].insert(0, {"id": 0, "name": "dog", "supercategory": "none"})
    assert len(dogs(write(tmp_path, content)).support) == 4


def test_a_wrong_folder_names_the_right_one(tmp_path):
    content = instances(tmp_path)
    for record in content["images"]:
        record["file_name"] = f"images/{record['file_name']}"
    with pytest.raises(DataError, match=rf"there is {tmp_path}/images/1\.png; give --data\.images {tmp_path}\b"):
        dogs(write(tmp_path, content))
